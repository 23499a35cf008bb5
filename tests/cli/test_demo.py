"""`aaa demo` itself is a stage of `.ci/run`, and README's; here is what a fast machine does not show."""

from pathlib import Path

from cli.demo import START_SECONDS, Stage, simulated_nas


def test_the_login_waits_for_a_server_that_needs_its_time_to_start() -> None:
    nas = simulated_nas(Stage(Path("unused"), auth_port=1812, acct_port=1813))
    nas.boot(0)
    session = nas.log_in("alice", "correct-horse", 0)
    for now_ms in range(0, START_SECONDS * 1000, 500):
        nas.tick(now_ms)
        assert session.state == "asking"
        assert nas.unanswered == 2, "Accounting-On, and the login"
    assert len(nas.outbox) == 2 * START_SECONDS

"""What operators write down: NASes and subscribers. The server reads them in `directory`."""

from __future__ import annotations

from sqlalchemy import Connection, exists, select

from charging.tables import nas, subscriber


def anything_sealed(connection: Connection) -> bool:
    """Does the database hold a secret that needs its key file?"""
    sealed = exists(select(nas.c.nas_id)) | exists(select(1).where(subscriber.c.password_sealed.is_not(None)))
    return bool(connection.execute(select(sealed)).scalar_one())

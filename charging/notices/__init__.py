"""Notices: what a subscriber or an operator should hear of, from the row that the cause wrote to the mail that arrives.

`kinds` says what there is to tell, `texts` and `wording` how it is said, `settings` what the operator decided; `outbox` is the
tables' side (routing, leases), `smtp` and `webhook` are the ways out, `postman` carries.
"""

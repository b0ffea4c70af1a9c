"""Numbers that AWS fixes for SQS.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-quotas.html
"""

from __future__ import annotations

MAXIMUM_BYTES = 1_048_576
"""Of a message, and of a batch."""
BATCH_ENTRIES = 10
MESSAGE_ATTRIBUTES = 10
RECEIVE_MESSAGES = 10
WAIT_SECONDS = 20
DELAY_SECONDS = 900
VISIBILITY_SECONDS = 43_200
PERMISSION_ACTIONS = 7
POLICY_STATEMENTS = 20
POLICY_PRINCIPALS = 50
POLICY_CONDITIONS = 10
POLICY_BYTES = 8_192
TAGS = 50
PAGE = 1_000
MOVE_RATE = 500
MOVE_TASKS = 100
"""Active at the same time in an account and region."""

"""Trunkline: Amazon SQS, SNS and EventBridge from one Python process."""

__version__ = "0.1.0"

"""The worker's side of the broker: what lets messages in, gathers them, hands them on, and answers.

kombu's transports come first (`redis_transport`, `rabbitmq_transport`), then Celery's consumer with
the gate in front of it, which gathers small messages; `delivery` says what becomes of each, and
`results` takes the answers back.
"""

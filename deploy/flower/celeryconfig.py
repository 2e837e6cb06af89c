"""Celery's settings for Flower, which knows nothing of our app: the broker, and our queues.

Flower asks Redis for the length of these queues. Without their names it would show one called
`celery`, which nobody uses.
"""

from pathlib import Path
from urllib.parse import quote

from kombu import Queue

_password = Path("/run/secrets/redis_password").read_text(encoding="utf-8").strip()

broker_url = f"redis://:{quote(_password, safe='')}@redis:6379/0"
task_default_queue = "storage.write"
task_queues = [Queue("storage.write"), Queue("storage.read")]

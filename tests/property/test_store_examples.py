"""What the state machine is unlikely to meet: large batches, hostile names, threads, bad cursors."""

from __future__ import annotations

import hashlib
import json
import random
import string
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from itertools import batched_compat
from typing import Any

import pytest

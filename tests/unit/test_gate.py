"""What the gate lets in, what it refuses, and what it makes of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kombu.utils.json import loads as kombu_loads

from api_client.contract import codec
from api_client.contract.errors import InvalidRequest
from api_client.contract.limits import MAX_MESSAGE_BYTES
from api_client.contract.records import new_id
from tests.support.items import body, create, encoded, item, message
from worker.broker import gate
from worker.broker.gate import BURY_TASK, BadItem
from worker.dead_letters import KEPT_BYTES, Refused

PROFILE = settings(deadline=None, print_blob=True, max_examples=300)
JSON = "application/json"
GOOD = body(message(create("s")))
QUERY = body({"version": 1, "query": {"op": "status", "message_ids": []}})
MARKED = {"__type__": "datetime", "__value__": "no date"}


def headers(**changes: Any) -> dict[str, Any]:
    return {"lang": "py", "task": codec.WRITE_TASK, "id": "an-id", **changes}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def taken(raw: bytes) -> Any:
    """What kombu makes of an item behind the gate."""
    return as_kombu_reads(gate.clean_item(raw, "storage.write"))


def taken_or_wrapped(raw: bytes) -> Any:
    """What kombu makes of what the gate makes of anything."""
    try:
        return as_kombu_reads(gate.clean_item(raw, "q"))
    except BadItem as error:
        return as_kombu_reads(gate.wrapped_item(raw, str(error), "q"))


def as_kombu_reads(payload: dict[str, Any]) -> Any:
    """The same, after it was recorded as unacknowledged and put back."""
    found = kombu_loads(encoded(payload).decode())
    assert found == payload
    return found


class TestMessages:
    @pytest.mark.parametrize("content_type", [JSON, codec.BODY_CONTENT_TYPE])
    @pytest.mark.parametrize("task", [codec.WRITE_TASK, codec.READ_TASK])
    def test_a_call_of_one_of_our_tasks_may_pass(self, task: str, content_type: str) -> None:
        assert gate.message_fault(headers(task=task), content_type, GOOD) is None

    def test_the_headers_of_a_plain_celery_publisher_may_pass(self) -> None:
        sent = headers(
            shadow=None,
            eta=None,
            expires=None,
            group=None,
            group_index=None,
            retries=0,
            timelimit=[None, None],
            root_id="an-id",
            parent_id=None,
            argsrepr="({},)",
            kwargsrepr="{}",
            origin="gen1@host",
            ignore_result=False,
            replaced_task_nesting=0,
            stamped_headers=None,
            stamps={},
        )
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        assert gate.message_fault(sent, JSON, body(message(create("s")), embed=embed)) is None

    @pytest.mark.parametrize(
        "task",
        [
            "celery.chain",
            "celery.map",
            "celery.backend_cleanup",
            "os.system",
            "",
            None,
            7,
            [codec.WRITE_TASK],
            {"task": codec.WRITE_TASK},
        ],
    )
    def test_other_tasks_are_refused(self, task: object) -> None:
        assert "unknown task" in str(gate.message_fault(headers(task=task), JSON, GOOD))

    def test_a_message_without_a_task_is_refused(self) -> None:
        assert "unknown task" in str(gate.message_fault({}, JSON, GOOD))

    @pytest.mark.parametrize("task_id", [None, 7, "", ["x"], {"a": 1}, "x" * 513, True])
    def test_an_id_that_is_no_short_string_is_refused(self, task_id: object) -> None:
        assert "task id" in str(gate.message_fault(headers(id=task_id), JSON, GOOD))

    @pytest.mark.parametrize("task_id", ["a\nb", "\x1b[2J", "a\x00b", "\u202eabc", "\udc80"])
    def test_an_id_that_would_deface_the_log_is_refused(self, task_id: str) -> None:
        assert "printable" in str(gate.message_fault(headers(id=task_id), JSON, GOOD))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("eta", "2099-01-01T00:00:00+00:00"),
            ("eta", 5),
            ("group", "g"),
            ("chord", {"a": 1}),
            ("compression", "application/x-gzip"),
            ("compression", ["gzip"]),
            ("stamped_headers", ["x"]),
            ("timelimit", [1, None]),
            ("timelimit", [None, 0.001]),
            ("timelimit", 5),
            ("timelimit", "ab"),
            ("timelimit", {"a": 1}),
            ("expires", "2099-01-01T00:00:00+00:00"),
            ("expires", 5),
        ],
    )
    def test_headers_that_would_steer_celery_are_refused(self, name: str, value: object) -> None:
        assert repr(name) in str(gate.message_fault(headers(**{name: value}), JSON, GOOD))

    @pytest.mark.parametrize(
        "expires", ["2099-01-01T00:00:00+00:00", "2099-01-01T00:00:00Z", "2099-01-01T00:00:00"]
    )
    def test_a_read_may_expire(self, expires: str) -> None:
        sent = headers(task=codec.READ_TASK, expires=expires)
        assert gate.message_fault(sent, JSON, QUERY) is None
        assert gate.clean_headers(sent)["expires"] == "2099-01-01T00:00:00+00:00"

    @pytest.mark.parametrize(
        "expires",
        [5, "soon", ["2099-01-01"], {"a": 1}, True, "0001-01-01T00:00:00+14:00", "9" * 5000],
    )
    def test_an_expiry_that_is_no_time_is_refused(self, expires: object) -> None:
        sent = headers(task=codec.READ_TASK, expires=expires)
        assert "'expires'" in str(gate.message_fault(sent, JSON, QUERY))

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/x-python-serialize",
            "application/x-yaml",
            "text/plain",
            "application/json; charset=utf-16",
            "",
            None,
            7,
            [JSON],
        ],
    )
    def test_what_is_not_json_is_refused(self, content_type: object) -> None:
        assert "content type" in str(gate.message_fault(headers(), content_type, GOOD))

    @pytest.mark.parametrize(
        "bad",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"[[],{}]",
            b"[[],{},{},{}]",
            b"{}",
            b'[{"a":1},{},{}]',
            b"[[1],[],{}]",
            b"[[1],{},[]]",
            b"[[1],null,null]",
            b'[["\xff"],{"\xff":1},{}]',
            b"[[1],{},{}] x",
            b"[[" + b"[" * 100_000 + b"]" * 100_000 + b"],{},{}]",
            b'[[1],{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"},{}]",
            GOOD.decode().encode("utf-16"),
        ],
    )
    def test_a_body_that_is_not_that_of_a_task_is_refused(self, bad: bytes) -> None:
        assert "protocol 2" in str(gate.message_fault(headers(), JSON, bad))

    @pytest.mark.parametrize(
        "bad", [body(), body(1, 2), body(1, key=2), body(message=message(create("s")))]
    )
    def test_a_task_takes_one_positional_argument(self, bad: bytes) -> None:
        assert "one positional argument" in str(gate.message_fault(headers(), JSON, bad))

    @pytest.mark.parametrize(
        "embed",
        [
            {"chain": [{"task": codec.WRITE_TASK, "args": []}]},
            {"callbacks": [{"task": "os.system"}]},
            {"errbacks": [{"task": "os.system"}]},
            {"chord": {"task": "celery.chord"}},
            {"is_eager": True},
            {"task": None},
            {"logfile": ""},
        ],
    )
    def test_what_would_be_called_afterwards_is_refused(self, embed: dict[str, Any]) -> None:
        bad = body(message(create("s")), embed=embed)
        assert "callbacks" in str(gate.message_fault(headers(), JSON, bad))

    def test_a_body_has_a_limit(self) -> None:
        largest = body("x" * MAX_MESSAGE_BYTES)
        assert gate.message_fault(headers(), JSON, largest) is None
        assert "bytes" in str(gate.message_fault(headers(), JSON, largest + b" " * 1024))

    def test_clean_headers_keep_nothing_foreign(self) -> None:
        foreign = {
            "shadow": "other name",
            "argsrepr": "forged",
            "kwargsrepr": "forged",
            "parent_id": "forged",
            "root_id": "forged",
            "retries": 99,
            "origin": "forged",
            "stamps": {"a": 1},
            "timelimit": [5, 5],
            "lang": "c",
            "replaced_task_nesting": 9,
            "something": {"else": 1},
        }
        clean = gate.clean_headers(headers(**foreign))
        assert clean == gate.clean_headers(headers())
        assert clean.keys().isdisjoint({"shadow", "origin", "stamps", "something"})

    @pytest.mark.parametrize(("tries", "kept"), [(3, 3), ("3", 1), (None, 1), ([3], 1)])
    def test_the_number_of_the_try_is_kept_if_it_is_one(self, tries: object, kept: int) -> None:
        assert gate.clean_headers(headers(**{codec.TRY_HEADER: tries}))[codec.TRY_HEADER] == kept

    @given(
        content=st.binary(max_size=200),
        content_type=st.one_of(st.none(), st.text(max_size=20), st.just(JSON)),
        task=st.sampled_from([codec.WRITE_TASK, codec.READ_TASK, BURY_TASK, "other"]),
    )
    @PROFILE
    def test_random_bytes_raise_nothing(self, content: bytes, content_type: str, task: str) -> None:
        fault = gate.message_fault(headers(task=task), content_type, content)
        kept = gate.refused(headers(task=task), content, fault or "")
        assert kept.body == content

    @given(
        st.dictionaries(
            st.sampled_from(
                ["task", "id", "eta", "expires", "timelimit", "group", "ignore_result", "zdk_try"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
                ),
                max_leaves=4,
            ),
        )
    )
    @PROFILE
    def test_random_headers_raise_nothing(self, random: dict[str, Any]) -> None:
        for sent in (random, headers() | random, headers(task=codec.READ_TASK) | random):
            if gate.message_fault(sent, JSON, GOOD) is None:
                msgspec.json.encode(gate.clean_headers(sent))
            assert gate.refused(sent, GOOD, "for a test").body == GOOD


class TestItems:
    def test_what_kombu_publishes_comes_through_as_it_is(self) -> None:
        sent = item(GOOD, headers={codec.TRY_HEADER: 3})
        found = taken(encoded(sent))
        for name in ("body", "headers", "content-type", "content-encoding"):
            assert found[name] == sent[name]
        for name in ("delivery_tag", "body_encoding", "priority"):
            assert found["properties"][name] == sent["properties"][name]

    def test_an_item_from_anywhere_goes_back_to_the_queue_where_it_was_found(self) -> None:
        elsewhere = {"exchange": "no such exchange", "routing_key": "no such queue"}
        found = taken(encoded(item(GOOD, properties={"delivery_info": elsewhere})))
        where = found["properties"]["delivery_info"]
        assert (where["exchange"], where["routing_key"]) == ("", "storage.write")

    @pytest.mark.parametrize("redelivered", [True, False])
    def test_whether_it_was_handed_back_is_kept(self, redelivered: bool) -> None:
        where = {"exchange": "", "routing_key": "storage.write", "redelivered": redelivered}
        found = taken(encoded(item(GOOD, properties={"delivery_info": where})))
        assert found["properties"]["delivery_info"]["redelivered"] is redelivered

    def test_a_priority_is_kept_if_it_is_a_number(self) -> None:
        assert taken(encoded(item(GOOD, properties={"priority": 6})))["properties"]["priority"] == 6
        for odd in ("high", None, [1], {"a": 1}, 1.5):
            found = taken(encoded(item(GOOD, properties={"priority": odd})))
            assert found["properties"]["priority"] == 0

    @pytest.mark.parametrize("tag", ["1", "", "not unique", "ü\n"])
    def test_a_tag_that_others_may_use_too_is_replaced(self, tag: str) -> None:
        first, second = (encoded(item(GOOD, properties={"delivery_tag": tag})) for _ in range(2))
        tags = [taken(raw)["properties"]["delivery_tag"] for raw in (first, first, second)]
        assert tags[0] == tags[1] != tags[2]
        # It lasts when the message is handed back.
        back = taken(encoded(gate.clean_item(first, "storage.write")))
        assert back["properties"]["delivery_tag"] == tags[0]

    @pytest.mark.parametrize("encoding", ["base64", "BASE64", "Base64"])
    def test_an_encoding_may_be_written_in_any_case(self, encoding: str) -> None:
        found = taken(encoded(item(GOOD, properties={"body_encoding": encoding})))
        assert found["properties"]["body_encoding"] == "base64"

    @pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "", None])
    def test_a_body_may_be_plain_text(self, encoding: str | None) -> None:
        sent = item(b"", properties={"body_encoding": encoding}, top={"body": GOOD.decode()})
        found = taken(encoded(sent))
        assert found["body"].encode() == GOOD
        assert found["properties"]["body_encoding"] == "utf-8"

    @pytest.mark.parametrize(
        "raw",
        [
            encoded(item(GOOD))[:-1] + b',"more":' + more + b"}"
            for more in (
                b'"\xff"',
                b"1" * 5000,
                b"1e999",
                b"[" * 900 + b"]" * 900,
                json.dumps(MARKED).encode(),
                b'{"headers":{}}',
            )
        ]
        + [
            encoded(item(GOOD, properties={"reply_to": nested(900), "more": MARKED})),
            encoded(item(GOOD, top={"content-encoding": 5})),
            encoded(item(GOOD, top={"content-encoding": ["utf-16"]})),
            b'{"headers":' + json.dumps(MARKED).encode() + b"," + encoded(item(GOOD))[1:],
        ],
    )
    def test_what_only_kombu_would_read_does_not_get_there(self, raw: bytes) -> None:
        found = taken(raw)
        assert base64.b64decode(found["body"]) == GOOD
        assert found["content-encoding"] == "utf-8"
        assert found.keys() == item(GOOD).keys()

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"hello",
            b"null",
            b"7",
            b"[]",
            b"{}",
            b"\xff\xfe",
            b"\x80\x04\x95.",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            encoded(item(GOOD)) + b"x",
            encoded(item(GOOD)).decode().encode("utf-16"),
            json.dumps([item(GOOD)]).encode(),
            encoded(item(GOOD, top={"body": None})),
            encoded(item(GOOD, top={"body": 7})),
            encoded(item(GOOD, top={"body": {"a": 1}})),
            encoded(item(GOOD, top={"body": "a"})),
            encoded(item(GOOD, top={"body": "ä"})),
            encoded(item(GOOD, top={"body": "\ud800"})),
            encoded(item(GOOD, top={"headers": None})),
            encoded(item(GOOD, top={"headers": []})),
            encoded(item(GOOD, top={"headers": "x"})),
            encoded(item(GOOD, top={"properties": None})),
            encoded(item(GOOD, top={"properties": []})),
            encoded(item(GOOD, properties={"delivery_tag": None})),
            encoded(item(GOOD, properties={"delivery_tag": 7})),
            encoded(item(GOOD, properties={"delivery_tag": ["x"]})),
            encoded(item(GOOD, properties={"delivery_info": None})),
            encoded(item(GOOD, properties={"delivery_info": "x"})),
            encoded(item(GOOD, properties={"delivery_info": {}})),
            encoded(item(GOOD, properties={"delivery_info": {"exchange": 1, "routing_key": ""}})),
            encoded(item(GOOD, properties={"delivery_info": {"exchange": "", "routing_key": {}}})),
            encoded(item(GOOD, properties={"body_encoding": "zlib"})),
            encoded(item(GOOD, properties={"body_encoding": 64})),
            encoded(item(GOOD)).replace(b'"priority": 0', b'"priority": 1e999'),
            encoded(item(GOOD)).replace(b'"priority": 0', b'"priority": NaN'),
            encoded(item(GOOD, headers={"a": MARKED})),
            encoded(item(GOOD, headers={"a": [{"__type__": ["x"], "__value__": 1}]})),
            encoded(item(GOOD, headers={"a": nested(900)})),
            encoded(item(GOOD, headers={"a": nested(20)})),
            encoded(item(GOOD, headers={"a": "\ud800"})),
            encoded(item(GOOD)).replace(b'"root_id": "', b'"root_id": "\xff'),
            *(
                encoded({name: part for name, part in item(GOOD).items() if name != left_out})
                for left_out in ("body", "headers", "properties")
            ),
        ],
    )
    def test_what_is_no_message_is_wrapped_into_one(self, raw: bytes) -> None:
        with pytest.raises(BadItem) as refused:
            gate.clean_item(raw, "storage.write")
        wrapped = gate.wrapped_item(raw, str(refused.value), "storage.write")

        # The new item comes back through the gate, as it does when it was handed back,
        found = taken(encoded(wrapped))
        content = base64.b64decode(found["body"])
        assert gate.message_fault(found["headers"], found["content-type"], content) is None
        # and holds every byte of the old one.
        (argument,) = codec.decode_body(content)[0]
        kept = gate.read_bury_call(argument)
        assert (kept.body, kept.size, kept.reason) == (raw, len(raw), str(refused.value))

    def test_two_equal_items_are_two_dead_letters(self) -> None:
        wrapped = [taken(encoded(gate.wrapped_item(b"x", "why", "q"))) for _ in range(2)]
        assert len({found["headers"]["id"] for found in wrapped}) == 2

    def test_of_an_enormous_item_the_beginning_is_kept(self) -> None:
        raw = b"x" * (5 * KEPT_BYTES)
        with pytest.raises(BadItem, match="bytes"):
            gate.clean_item(raw, "q")
        found = taken(encoded(gate.wrapped_item(raw, "too large", "q")))
        content = base64.b64decode(found["body"])
        assert gate.message_fault(found["headers"], found["content-type"], content) is None
        kept = gate.read_bury_call(codec.decode_body(content)[0][0])
        assert (kept.body, kept.size) == (raw[:KEPT_BYTES], len(raw))

    @given(st.binary(max_size=300))
    @example(b"{}")
    @PROFILE
    def test_random_bytes_come_out_as_an_item_that_kombu_reads(self, raw: bytes) -> None:
        assert taken_or_wrapped(raw)["properties"]["delivery_info"]["routing_key"] == "q"

    @given(st.data())
    @PROFILE
    def test_a_damaged_item_comes_out_as_one_that_kombu_reads(self, data: st.DataObject) -> None:
        raw = bytearray(encoded(item(GOOD, headers={"a": [1, 2.5, "ü", None]})))
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        assert taken_or_wrapped(bytes(raw))["properties"]["delivery_info"]["routing_key"] == "q"


class TestRefused:
    def kept(self, sent: object, content: bytes = GOOD, tag: object = "tag") -> Refused:
        return gate.refused(sent, content, "why", tag)

    def test_the_same_delivery_has_the_same_name(self) -> None:
        assert self.kept(headers()) == self.kept(headers())

    @pytest.mark.parametrize(
        "other",
        [
            ({"id": "another"}, GOOD, "tag"),
            ({"id": "an-id"}, GOOD + b" ", "tag"),
            ({"id": "an-id"}, GOOD, "another tag"),
        ],
    )
    def test_another_message_has_another_name(
        self, other: tuple[Mapping[str, Any], bytes, str]
    ) -> None:
        assert self.kept(headers()).id != self.kept(*other).id

    def test_a_number_by_which_the_broker_counts_deliveries_is_not_part_of_the_name(self) -> None:
        assert self.kept(headers(), tag=1).id == self.kept(headers(), tag=2).id

    @pytest.mark.parametrize(
        "odd",
        [
            None,
            [],
            "x",
            {},
            {"id": 7, "task": ["x"]},
            {"id": None, "task": None},
            {"a": nested(900)},
            {"a": nested(100_000)},
            {"a": "\udc80"},
            {"a": float("nan")},
            {7: object()},
            {"id": "\udc80" * 1000, "task": "\x00"},
        ],
    )
    def test_odd_headers_are_kept_in_some_form(self, odd: object) -> None:
        kept = self.kept(odd)
        assert kept.body == GOOD
        assert isinstance(kept.headers, str)
        assert self.kept(odd).id == kept.id

    def test_headers_are_kept_as_json(self) -> None:
        assert json.loads(self.kept(headers(eta="x")).headers) == headers(eta="x")

    def test_no_more_is_kept_than_could_ever_be_applied(self) -> None:
        kept = self.kept({"a": "x" * 200_000}, b"x" * (KEPT_BYTES + 1))
        assert (len(kept.body), kept.size) == (KEPT_BYTES, KEPT_BYTES + 1)
        assert len(kept.headers) <= 64 * 1024

    def test_the_call_that_keeps_it_passes_the_gate(self) -> None:
        kept = self.kept({"a": "\x00" * 60_000}, bytes(KEPT_BYTES))
        sent, content = gate.bury_call(kept)
        assert gate.message_fault(sent, codec.BODY_CONTENT_TYPE, content) is None
        assert gate.read_bury_call(codec.decode_body(content)[0][0]) == kept

    @pytest.mark.parametrize(
        "forged",
        [
            {"id": "no UUID"},
            {"id": "'; drop table dead_letters"},
            {"size": -1},
            {"size": 2**63},
            {"size": 2**70},
            {"size": 5},
            {"body": "not base64"},
            {"headers": "x" * 100_000},
            {"task_id": "x" * 1000},
            {"reason": None},
        ],
    )
    def test_a_forged_call_is_not_taken_for_ours(self, forged: dict[str, Any]) -> None:
        real = json.loads(codec.encode(Refused(new_id(), "t", "i", "why", "", b"abc", 3)))
        assert gate.read_bury_call(json.dumps(real).encode())
        with pytest.raises(InvalidRequest):
            gate.read_bury_call(json.dumps(real | forged).encode())

"""The parts of Vidispine's face that need no server: paths, parameters, documents, ranges."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.api.vidispine import documents as d
from server.api.vidispine.addressing import Pattern, parse_path, parse_query
from server.api.vidispine.bodies import (
    flag_of,
    mapping_of,
    number_of,
    opaque,
    read_document,
)
from server.api.vidispine.errors import FAULTS, Fault, fault_of, render_fault
from server.api.vidispine.ids import number_of as id_of
from server.api.vidispine.parameters import Parameters
from server.api.vidispine.ranges import Unsatisfiable, parse_range
from server.api.vidispine.rendering import (
    JSON,
    NAMESPACE,
    TEXT,
    XML,
    lines,
    negotiate,
    to_json,
    to_xml,
)
from server.core import errors as core
from server.core.jobs import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xmlschema

AT = datetime(2016, 3, 24, 16, 2, 53, 796_400, tzinfo=UTC)
FILE = d.FileDocument(
    id="VX-432",
    path="sample.mov",
    uri=("file:///srv/media1/sample.mov",),
    state="CLOSED",
    size=7889811,
    hash="5eb9646332c96c738b4cacf7bc110d4cd8523ed5",
    timestamp=AT,
    refresh_flag=1,
    storage="VX-1",
)


def test_a_file_is_the_reference_s_example() -> None:
    assert to_xml(FILE).decode() == (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        '<FileDocument xmlns="http://xml.vidispine.com/schema/vidispine">'
        "<id>VX-432</id><path>sample.mov</path><uri>file:///srv/media1/sample.mov</uri>"
        "<state>CLOSED</state><size>7889811</size>"
        "<hash>5eb9646332c96c738b4cacf7bc110d4cd8523ed5</hash>"
        "<timestamp>2016-03-24T16:02:53.796Z</timestamp><refreshFlag>1</refreshFlag>"
        "<storage>VX-1</storage></FileDocument>"
    )


def test_json_has_arrays_and_times_as_the_real_one_sends_them() -> None:
    assert json.loads(to_json(d.FileListDocument(hits=1, file=(FILE,)))) == {
        "hits": 1,
        "file": [
            {
                "id": "VX-432",
                "path": "sample.mov",
                "uri": ["file:///srv/media1/sample.mov"],
                "state": "CLOSED",
                "size": 7889811,
                "hash": "5eb9646332c96c738b4cacf7bc110d4cd8523ed5",
                "timestamp": "2016-03-24T16:02:53.796+0000",
                "refreshFlag": 1,
                "storage": "VX-1",
            }
        ],
    }


def test_text_has_tabs_and_crlf() -> None:
    rows = [["VX-49", "file:///srv/X/", "NONE"], ["VX-50", None, True, 3, AT]]
    assert lines(rows) == (
        b"VX-49\tfile:///srv/X/\tNONE\r\nVX-50\t\ttrue\t3\t2016-03-24T16:02:53.796Z\r\n"
    )


def test_a_name_cannot_make_lines_or_elements_of_its_own() -> None:
    """Names hold tabs, line ends, control characters and bytes that are no UTF-8."""
    evil = "a\tb\r\nVX-1\x00\x1b]</path><x>\udcff\ufffe"
    assert lines([[evil]]).count(b"\r\n") == 1
    assert b"\t" not in lines([[evil]])
    xml = to_xml(d.FileDocument(id="VX-1", path=evil, state="OPEN"))
    assert xml.count(b"<path>") == 1
    assert b"<x>" not in xml
    assert json.loads(to_json(d.FileDocument(id="VX-1", path=evil, state="OPEN")))["path"]


@given(text=st.text(alphabet=st.characters(codec=None)), at=st.datetimes())
@example(text="\ud800", at=datetime(2026, 3, 1))
def test_xml_is_valid_whatever_is_in_it(text: str, at: datetime) -> None:
    made = to_xml(
        d.FileDocument(id="VX-1", path=text, state="OPEN", timestamp=at.replace(tzinfo=UTC))
    )
    read = read_document(made, XML, "FileDocument")
    assert read is not None
    assert read.namespace == NAMESPACE
    assert read.text_of("id") == "VX-1"


def every_document() -> Iterator[d.Document]:
    pair = d.KeyValue(key="a", value="b")
    item = d.Item(id="VX-1", shape=(d.Shape(id="VX-2", component=(d.Component(id="VX-3"),)),))
    whole = d.FileDocument(
        **{name: getattr(FILE, name) for name in ("id", "path", "uri", "state", "size")},
        item=(item, item),
        metadata=d.FileMetadata(field=(pair,)),
    )
    progress = d.JobProgress(total=3, unit="bytes", value=1)
    task = d.JobTask(step=1, attempts=1, status="STARTED", timestamp=AT, progress=progress, id=1)
    job = d.JobDocument(
        job_id="VX-1",
        user="admin",
        started=AT,
        finished=AT,
        status="STARTED",
        type="COPY_FILE",
        priority="MEDIUM",
        data=(pair,),
        total_steps=1,
        log=d.JobLog(task=(task,)),
    )
    method = d.StorageMethodDocument(
        id="VX-1", uri="file:///srv/", read=True, write=False, browse=True, type="NONE"
    )
    storage = d.StorageDocument(
        id="VX-1", state="READY", type="LOCAL", capacity=1, method=(method, method), timestamp=AT
    )
    version = d.VersionComponent(name="API", version="1")
    yield from (FILE, whole, d.FileListDocument(), d.FileListDocument(hits=2, file=(FILE, whole)))
    yield d.ImportableFileListDocument(hits=1, element=(d.ImportableFile(file=FILE),))
    yield from (job, d.JobListDocument(hits=1, job=(job, job)), d.JobProblemListDocument())
    yield from (method, d.StorageMethodListDocument(method=(method,)))
    yield from (storage, d.StorageListDocument(storage=(storage, storage)))
    yield d.VersionDocument(component=(version,))


@pytest.mark.parametrize("document", list(every_document()), ids=lambda each: type(each).__name__)
def test_documents_follow_the_schema(schema: xmlschema.XMLSchema, document: d.Document) -> None:
    schema.validate(to_xml(document).decode())


def test_the_schema_is_not_satisfied_by_just_anything(schema: xmlschema.XMLSchema) -> None:
    good = to_xml(FILE).decode()
    for bad in (
        good.replace("<state>CLOSED</state>", ""),
        good.replace("CLOSED", "closed"),
        good.replace("VX-432", "432"),
        good.replace(NAMESPACE, "http://elsewhere"),
        good.replace("<id>VX-432</id><path>sample.mov</path>", "<path>a</path><id>VX-432</id>"),
    ):
        assert good != bad
        assert not schema.is_valid(bad)


def some_error(kind: type[core.CoreError]) -> core.CoreError:
    if issubclass(kind, core.InvalidValue):
        return kind("path", "no such <path>")
    if issubclass(kind, core.FileExists):
        return kind(1, "a/b.dpx", 7)
    if issubclass(kind, core.TooManyAttempts):
        return kind(30)
    return kind("it did not work")


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_core_has_its_document(
    schema: xmlschema.XMLSchema, kind: type[core.CoreError]
) -> None:
    fault = fault_of(some_error(kind))
    assert fault.status == FAULTS[kind][0]
    schema.validate(render_fault(fault, XML).decode())
    told = json.loads(render_fault(fault, JSON))
    assert len(told) == 9
    assert sum(value is not None for value in told.values()) == 1
    text = render_fault(fault, TEXT).decode()
    assert text.startswith(f"{fault.status} ")
    assert text.endswith("\r\n")


def test_no_error_of_the_core_is_forgotten() -> None:
    """Each class has a status of its own, or that of its base on purpose."""
    for kind in vars(core).values():
        if isinstance(kind, type) and issubclass(kind, core.CoreError):
            assert kind is core.CoreError or any(base in FAULTS for base in kind.__mro__), kind


def test_errors_are_the_captured_ones() -> None:
    missing = fault_of(core.NotFound("no", kind="storage-method", id=1000000))
    assert render_fault(missing, TEXT) == (
        b"404 A resource could not be found\r\nType: storage-method\r\nID: VX-1000000\r\n"
    )
    assert json.loads(render_fault(missing, JSON)) == {
        "notFound": {"type": "storage-method", "id": "VX-1000000", "context": None},
        "internalServer": None,
        "forbidden": None,
        "notYetImplemented": None,
        "conflict": None,
        "invalidInput": None,
        "licenseFault": None,
        "fileAlreadyExists": None,
        "notAuthorized": None,
    }
    assert (
        render_fault(missing, XML)
        .decode()
        .endswith(
            "<notFound><type>storage-method</type><id>VX-1000000</id></notFound></ExceptionDocument>"
        )
    )
    invalid = d.InvalidInput(context="storage", id="VX-58", explanation="invalid method url")
    assert render_fault(Fault(400, d.ExceptionDocument(invalid_input=invalid)), TEXT) == (
        b"400 An invalid parameter was entered\r\n"
        b"Context: storage\r\nID: VX-58\r\nReason: invalid method url\r\n"
    )


@pytest.mark.parametrize(
    ("raw", "segments", "matrix"),
    [
        (b"/storage/file", ("storage", "file"), ()),
        (b"/API/storage//file/", ("API", "storage", "file"), ()),
        (
            b"/API/storage/VX-1/file;start=0;number=100;includeItem=True",
            ("API", "storage", "VX-1", "file"),
            (("start", "0"), ("number", "100"), ("includeItem", "True")),
        ),
        (
            b"/API/storage/file/;first=0;sort=filename%20desc",
            ("API", "storage", "file"),
            (("first", "0"), ("sort", "filename desc")),
        ),
        (
            b"/storage/file/path/a%2Fb%3Bc%20+.dpx/data",
            ("storage", "file", "path", "a/b;c +.dpx", "data"),
            (),
        ),
        (b"/file/path/a%252Fb", ("file", "path", "a%2Fb"), ()),
        (b"/file/path/%FF", ("file", "path", "\udcff"), ()),
        (b"/storage;f/file;a=1;a=2", ("storage", "file"), (("f", ""), ("a", "1"), ("a", "2"))),
    ],
)
def test_paths_are_taken_apart_before_they_are_decoded(
    raw: bytes, segments: tuple[str, ...], matrix: tuple[tuple[str, str], ...]
) -> None:
    address = parse_path(raw)
    assert (address.segments, address.matrix) == (segments, matrix)


def test_a_query_s_plus_is_a_blank() -> None:
    assert parse_query(b"sort=filename+desc%2Csize+asc&path=%2Fx%2By&&a") == (
        ("sort", "filename desc,size asc"),
        ("path", "/x+y"),
        ("a", ""),
    )


def test_too_much_is_refused() -> None:
    with pytest.raises(core.InvalidValue):
        parse_path(b"/" + b"a" * 20_000)
    with pytest.raises(core.InvalidValue):
        parse_query(b"a=1&" * 2000)


def test_what_is_said_outright_goes_before_what_varies() -> None:
    exact, varying = Pattern.of("/storage/file/{file}"), Pattern.of("/storage/{storage}/file")
    assert exact.match(("storage", "file", "VX-1")) == {"file": "VX-1"}
    assert varying.match(("storage", "file", "file")) == {"storage": "file"}
    assert exact.precision > varying.precision


def test_parameters_are_read_as_clients_write_them() -> None:
    given = Parameters(
        [
            ("count", "False"),
            ("recursive", "TRUE"),
            ("wildcard", ""),
            ("state", "OPEN"),
            ("state", "CLOSED,MISSING"),
            ("id", "VX-1, VX-2"),
            ("number", "100"),
            ("jobmetadata", "a=b,c"),
            ("bad", "maybe"),
        ]
    )
    assert given.flag("count", True) is False
    assert given.flag("recursive", False) is True
    assert given.flag("wildcard", False) is False
    assert given.flag("absent", True) is True
    assert given.words("state") == ("OPEN", "CLOSED", "MISSING")
    assert given.words("id") == ("VX-1", "VX-2")
    assert given.values("jobmetadata") == ("a=b,c",)
    assert given.number("start", "number") == 100
    assert given.number("absent", default=10) == 10
    for read in (
        lambda: given.flag("bad", True),
        lambda: given.number("bad"),
        lambda: given.number("number", most=99),
        lambda: given.choices("bad", JobState),
    ):
        with pytest.raises(core.InvalidValue):
            read()


def test_values_that_are_no_text_are_refused() -> None:
    given = Parameters([("a", "\udcff"), ("b", "x\0")])
    for name in "ab":
        for read in (given.text, given.words, given.values, given.number):
            with pytest.raises(core.InvalidValue):
                read(name)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", XML),
        ("*/*", XML),
        ("application/json", JSON),
        ("text/xml", XML),
        ("text/plain, application/json;q=0.9", TEXT),
        ("application/json;q=0.2, text/plain;q=0.1", JSON),
        ("text/*", TEXT),
        ("application/xml;q=0, */*", JSON),
        ("image/png", None),
        ("text/plain;q=0.1, */*", XML),
        (";;;,,q=", XML),
    ],
)
def test_a_client_gets_what_it_asks_for_most(accept: str, kind: str | None) -> None:
    assert negotiate(accept, (XML, JSON, TEXT)) == kind


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=50-1000", (50, 100)),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=0-99999999999999999999999", None),
    ],
)
def test_ranges(header: str, part: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == part


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=-0", 9), ("bytes=-1", 0)]
)
def test_ranges_without_a_byte(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, size)


def test_xml_and_json_bodies_are_one_tree() -> None:
    xml = (
        f'<StorageDocument xmlns="{NAMESPACE}"><type>LOCAL</type><capacity> 1500000 </capacity>'
        "<autoDetect>true</autoDetect><method><uri>file:///a/</uri><read>true</read></method>"
        "<metadata><field><key>a</key><value>b</value></field></metadata></StorageDocument>"
    )
    said = {
        "type": "LOCAL",
        "capacity": "1500000",
        "autoDetect": True,
        "method": [{"uri": "file:///a/", "read": "true", "bandwidth": None}],
        "metadata": {"field": [{"key": "a", "value": "b"}]},
    }
    for body, kind in ((xml.encode(), XML), (json.dumps(said).encode(), JSON), (xml.encode(), "")):
        read = read_document(body, kind, "StorageDocument")
        assert read is not None
        assert read.text_of("type") == "LOCAL"
        assert number_of(read, "capacity") == 1500000
        assert flag_of(read, "autoDetect") is True
        method = read.first("method")
        assert method is not None
        assert flag_of(method, "read") is True
        assert number_of(method, "bandwidth") is None
        assert mapping_of(read, "metadata") == {"a": "b"}
        assert opaque(read)["type"] == ["LOCAL"]


@pytest.mark.parametrize("body", [b"", b"  \r\n"])
@pytest.mark.parametrize("kind", [JSON, XML, ""])
def test_an_empty_body_is_none_whatever_its_type(body: bytes, kind: str) -> None:
    assert read_document(body, kind, "FileDocument") is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[1]", JSON),
        (b"{", JSON),
        (b"[" * 100_000, JSON),
        (b'{"a":' * 500 + b"1" + b"}" * 500, JSON),
        (b'{"path": "\\ud800"}', JSON),
        (b'{"path": "a\\u0000"}', JSON),
        (b'{"path": "a\\u0001"}', JSON),
        (b'{"pa\\u001bth": "a"}', JSON),
        (b"<FileDocument>", XML),
        (b"<Other/>", XML),
        (b"<filedocument/>", XML),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><FileDocument>&x;</FileDocument>', XML),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><FileDocument/>', XML),
        (b"<FileDocument>" + b"<a>" * 200_000, XML),
        (b'<?xml version="1.0" encoding="UTF-7"?><FileDocument/>', XML),
        (b"<FileDocument><path>\x00</path></FileDocument>", XML),
        (b"<FileDocument " + b" ".join(b"a%d='1'" % n for n in range(100)) + b"/>", XML),
        (b"<FileDocument " + b" ".join(b"a%d='1'" % n for n in range(100_000)) + b"/>", XML),
        (b"<FileDocument a='" + b"x" * 1_000_000 + b"'/>", XML),
        ('<?xml version="1.0" encoding="UTF-16"?><FileDocument/>'.encode("utf-16"), XML),
        (b'<?xml version="1.0" encoding="UTF-16"?><FileDocument/>', XML),
        (b"<!DOCTYPE a [" + b"<!ENTITY a 'x'>" * 9 + b"]><FileDocument>&a;</FileDocument>", XML),
        (b"<FileDocument><path>&#0;</path></FileDocument>", XML),
        (b"<FileDocument>&lol;</FileDocument>", XML),
        (b"<FileDocument>\xff</FileDocument>", XML),
    ],
    ids=range(25),
)
def test_bodies_that_want_to_harm_are_refused(body: bytes, kind: str) -> None:
    with pytest.raises(core.InvalidValue):
        read_document(body, kind, "FileDocument")


def test_ids() -> None:
    assert id_of("File", "VX-12") == id_of("File", "vx-12") == id_of("File", "12") == 12
    for text in ("", "VX-", "XX-1", "VX-1 ", "VX--1", "VX-" + "9" * 19, "../1"):
        with pytest.raises(core.NotFound) as refused:
            id_of("File", text)
        assert refused.value.kind == "File"

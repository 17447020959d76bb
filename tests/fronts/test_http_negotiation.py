from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import zstandard
from starlette.datastructures import Headers, QueryParams

from lakeservice.export.array_text import CSV, JSON
from lakeservice.export.raw import NPY, RAW
from lakeservice.fronts.http.compression import (
    compressed,
    encoding_of,
    encodings_for,
    is_worth_it,
)
from lakeservice.fronts.http.documents import document_type
from lakeservice.fronts.http.etags import entity_tag, has_tag
from lakeservice.fronts.http.links import page_link
from lakeservice.fronts.http.negotiation import chosen
from schemas.errors import ErrorKind, InvalidRequestError

if TYPE_CHECKING:
    from lakeservice.export.exporter import Piece

FORMS = (RAW, JSON, CSV, NPY)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/x-msgpack", "application/x-msgpack"),
        ("text/html, application/x-msgpack, application/json", "application/x-msgpack"),
        ("application/json;q=0.9,application/x-msgpack", "application/json"),
        ("text/html", "application/json"),
    ],
)
def test_a_document_is_json_unless_msgpack_comes_first(accept: str | None, media_type: str) -> None:
    assert document_type(accept) == media_type


@pytest.mark.parametrize(
    ("query", "accept", "media_type"),
    [
        ("", None, "application/octet-stream"),
        ("", "*/*", "application/octet-stream"),
        ("", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "application/octet-stream"),
        ("", "text/csv", "text/csv"),
        ("", "text/*", "text/csv"),
        ("", "text/csv;q=0.1, application/json;q=0.5", "application/json"),
        ("", "text/csv;q=0, application/json", "application/json"),
        ("format=csv", "application/json", "text/csv"),
        ("format=CSV", None, "text/csv"),
        ("format=.npy", None, "application/x-npy"),
        ("format=tiff,json", None, "application/json"),
        ("format=text%2Fcsv%3Bheader%3Dabsent", None, "text/csv"),
        ("format=", "text/csv", "text/csv"),
    ],
)
def test_the_form_of_data_is_what_is_asked_for(
    query: str, accept: str | None, media_type: str
) -> None:
    headers = Headers({} if accept is None else {"accept": accept})
    assert chosen(FORMS, QueryParams(query), headers).media_type == media_type


@pytest.mark.parametrize(("query", "accept"), [("format=docx", "*/*"), ("", "image/png")])
def test_a_form_that_nobody_writes_is_refused_with_the_known_ones(query: str, accept: str) -> None:
    with pytest.raises(InvalidRequestError, match="application/octet-stream, app") as caught:
        chosen(FORMS, QueryParams(query), Headers({"accept": accept}))
    assert caught.value.kind is ErrorKind.UNKNOWN_FORMAT


def test_tags_tell_parts_apart_and_are_found_however_they_are_quoted() -> None:
    tag = entity_tag("a", "bc")
    assert tag == entity_tag("a", "bc")
    assert tag != entity_tag("ab", "c")
    bare = tag.removeprefix('W/"').rstrip('"')
    assert all(has_tag(sent, tag) for sent in (tag, bare, f'"{bare}"', f'"x", {tag}', "*"))
    assert not any(has_tag(sent, tag) for sent in (None, "", '"x"', bare[:-1]))


def scope(host: str) -> dict[str, Any]:
    return {"client": (host, 1)}


@pytest.mark.parametrize(
    ("host", "headers", "encoding"),
    [
        ("10.0.0.7", {"accept-encoding": "gzip, deflate, zstd, blosc2"}, "zstd"),
        ("10.0.0.7", {"accept-encoding": "gzip"}, "gzip"),
        ("10.0.0.7", {"accept-encoding": "zstd;q=0, gzip;q=0.5"}, "gzip"),
        ("10.0.0.7", {"accept-encoding": "br"}, None),
        ("10.0.0.7", {}, None),
        ("127.0.0.1", {"accept-encoding": "gzip"}, None),
        ("::1", {"accept-encoding": "gzip"}, None),
        ("127.0.0.1", {"accept-encoding": "gzip", "x-forwarded-for": "10.0.0.7"}, "gzip"),
    ],
)
def test_answers_are_compressed_for_who_is_far_and_can_read_it(
    host: str, headers: dict[str, str], encoding: str | None
) -> None:
    encodings = encodings_for(scope(host), Headers(headers))
    assert encoding_of(encodings, "application/json") == encoding


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/octet-stream", "blosc2"),
        ("application/vnd.apache.arrow.file", "blosc2"),
        ("text/csv; charset=utf-8", "zstd"),
        ("image/png", None),
        ("application/x-parquet", None),
    ],
)
def test_numbers_go_as_blosc_and_what_is_packed_goes_as_it_is(
    content_type: str, encoding: str | None
) -> None:
    assert encoding_of(frozenset({"gzip", "zstd", "lz4", "blosc2"}), content_type) == encoding


def test_a_range_of_bytes_is_of_the_answer_itself() -> None:
    headers = Headers({"accept-encoding": "gzip", "range": "bytes=0-9"})
    assert not encodings_for(scope("10.0.0.7"), headers)


def test_only_what_shrinks_is_worth_it() -> None:
    assert is_worth_it(b"a" * 5000)
    assert not is_worth_it(b"a" * 500)
    assert not is_worth_it(zstandard.ZstdCompressor().compress(bytes(range(256)) * 99)[:2000])


def test_compressed_pieces_come_back() -> None:
    pieces: list[Piece] = [b"abc" * 1000, b"", memoryview(b"def" * 50_000)]
    whole = b"".join(pieces)
    packed = b"".join(compressed(iter(pieces), "gzip"))
    assert gzip.decompress(packed) == whole
    packed = b"".join(compressed(iter(pieces), "lz4"))
    with pa.CompressedInputStream(pa.BufferReader(packed), "lz4") as stream:
        assert stream.read() == whole
    packed = b"".join(compressed(iter(pieces), "zstd"))
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == whole


def test_a_page_link_asks_the_same_and_never_holds_a_key() -> None:
    params = [("api_key", "k"), ("page[offset]", "3"), ("sort", "-n"), ("sort", "a b")]
    link = page_link("http://h/search/", params, cursor="x&y", limit=2)
    assert link == "http://h/search/?sort=-n&sort=a+b&page[cursor]=x%26y&page[limit]=2"

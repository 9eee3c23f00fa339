"""Item files in the layouts that exist, mistakes in them, and items of any alignment."""

from pathlib import Path

import pytest

from textless.corpora.alignment import Segment, write_alignment
from textless.corpora.alignment_formats import read_any_alignment
from textless.corpora.items import (
    Item,
    count_overlaps,
    items_from_alignment,
    read_items,
    speakers_from_ids,
    write_items,
)
from textless.errors import UserError

HEADER = "#file onset offset #phone prev-phone next-phone speaker"
SPOKEN = [
    Segment(0, 0.1, "SIL"),
    Segment(0.1, 0.2, "k"),
    Segment(0.2, 0.35, "a"),
    Segment(0.35, 0.4, "t"),
    Segment(0.4, 0.5, "s"),
]


def items(tmp_path: Path, *lines: str, newline: str = "\n") -> list[Item]:
    (tmp_path / "x.item").write_text(newline.join(lines) + newline, encoding="utf-8", newline="")
    return read_items(tmp_path / "x.item")


def test_layouts(tmp_path: Path) -> None:
    librilight = Item("a b", "0.5", "0.75", "k", "s", "t", "f3")
    assert items(tmp_path, HEADER, "a b 0.5 0.75 k s t f3") == [librilight]
    assert items(tmp_path, HEADER, "a b 0.5 0.75 k s t f3", newline="\r\n") == [librilight]
    assert items(tmp_path, "\ufeff" + HEADER, "", "a b\t0.5\t0.75\tk\ts\tt\tf3") == [librilight]
    shuffled = "speaker #phone onset offset next-phone prev-phone #file"
    assert items(tmp_path, shuffled, "f3 k 0.5 0.75 t s ab") == [Item("ab", "0.5", "0.75", "k", "s", "t", "f3")]
    abxpy = "#file onset offset #phone context talker"
    assert items(tmp_path, abxpy, "ab 0.5 0.75 k s-t f3") == [Item("ab", "0.5", "0.75", "k", "s-t", "", "f3")]
    both = "#file onset offset #phone prev-phone next-phone speaker context"
    assert items(tmp_path, both, "ab 1 2 k s t f3 c")[0].extra == (("context", "c"),)
    other = "#file onset offset #word gender"
    assert items(tmp_path, other, "ab 1 2 cat f") == [Item("ab", "1", "2", extra=(("word", "cat"), ("gender", "f")))]


@pytest.mark.parametrize(
    "lines",
    [
        (HEADER, "a b 0.5 0.75 k s t f3", "a b 0.7500 1.25 t k s f3"),
        ("#file onset offset #phone context speaker", "ab 0.5 0.75 k s-t f3"),
        ("#file onset offset #phone speaker gender", "ab 0.5 0.75 k f3 f"),
    ],
)
def test_written_as_they_were_read(tmp_path: Path, lines: tuple[str, ...]) -> None:
    before = items(tmp_path, *lines)
    write_items(tmp_path / "y.item", before)
    assert (tmp_path / "y.item").read_text().splitlines() == list(lines)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a 0 1 k s t f3",), ":1 lacks the column file"),
        (("#file onset #phone", "a 0 k"), ":1 lacks the column offset"),
        (("#file onset offset #phone speaker talker", "a 0 1 k s s"), ":1 names the speaker twice"),
        ((HEADER, "a 0 1 k s t"), ":2 has 6 columns, expected 7"),
        ((HEADER, "a 0 1 k s t f3", "a -0.1 1 k s t f3"), ":3: needs 0 <= onset < offset, found -0.1 and 1"),
        ((HEADER, "a 1 1 k s t f3"), ":2: needs 0 <= onset < offset"),
        ((HEADER, "a 0 inf k s t f3"), ":2: needs 0 <= onset < offset"),
        ((HEADER, "a nan 1 k s t f3"), ":2: needs 0 <= onset < offset"),
        ((HEADER, "a zero 1 k s t f3"), ":2: onset and offset should be seconds"),
        ((HEADER,), "names no items"),
    ],
)
def test_mistakes(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        items(tmp_path, *lines)


def test_labels_are_words(tmp_path: Path) -> None:
    for label in ("a b", ""):
        with pytest.raises(UserError, match="words without spaces"):
            write_items(tmp_path / "x.item", [Item("f", "0", "1", "x", "y", "z", "s"), Item("f", "0", "1", label)])


def test_overlaps_are_counted_within_a_phone_and_context() -> None:
    first = Item("f", "0.1", "0.3", "a", "b", "c", "s")
    touching = Item("f", "0.3", "0.4", "a", "b", "c", "s")
    inside = Item("f", "0.15", "0.2", "a", "b", "c", "s")
    other_phone = Item("f", "0.2", "0.4", "b", "a", "c", "s")
    assert count_overlaps([touching, first, other_phone]) == 0
    assert count_overlaps([first, inside, first, other_phone]) == 2


def test_speakers_from_ids() -> None:
    ids = ["dev/84/84-12-0001", "dev/f3/000_1"]
    assert list(speakers_from_ids(ids, "prefix").values()) == ["84", "000"]
    assert list(speakers_from_ids(ids, "parent").values()) == ["84", "f3"]
    assert list(speakers_from_ids(ids, "id").values()) == ids
    with pytest.raises(UserError, match="'x' lies in no folder"):
        speakers_from_ids(["x"], "parent")


def test_items_of_an_alignment() -> None:
    phonemes = list(items_from_alignment({"u": SPOKEN}, {"u": "f3"}, "phoneme"))
    assert phonemes == [
        Item("u", "0.2000", "0.3500", "a", "k", "t", "f3"),
        Item("u", "0.3500", "0.4000", "t", "a", "s", "f3"),
    ]
    triphones = list(items_from_alignment({"u": SPOKEN}, {"u": "f3"}, "triphone"))
    assert [(i.onset, i.offset, i.phone) for i in triphones] == [("0.1000", "0.4000", "a"), ("0.2000", "0.5000", "t")]


def test_a_gap_is_no_neighbour() -> None:
    gap = [*SPOKEN[:3], Segment(0.4, 0.5, "t"), Segment(0.5, 0.6, "s"), Segment(0.6, 0.7, "i")]
    assert [i.phone for i in items_from_alignment({"u": gap}, {"u": "f"}, "phoneme")] == ["s"]


LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "the ""cats"" 2"
    item [2]:
        class = "TextTier"
        name = "notes"
        xmin = 0
        xmax = 0.5
        points: size = 1
        points [1]:
            number = 0.25
            mark = "?"
    item [3]:
        class = "IntervalTier"
        name = "{name}"
        xmin = 0
        xmax = 0.5
        intervals: size = 5
"""


def long_textgrid(name: str = "phones") -> str:
    rows = "".join(
        f"        intervals [{n}]:\n            xmin = {s.start}\n            xmax = {s.end}\n"
        f'            text = "{"" if s.label == "SIL" else s.label}"\n'
        for n, s in enumerate(SPOKEN, 1)
    )
    return LONG.format(name=name) + rows


def short_textgrid() -> str:
    rows = "\n".join(f'{s.start}\n{s.end}\n"{s.label.lower()}"' for s in SPOKEN)
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n0.5\n<exists>\n1\n'
    return f'{head}"IntervalTier"\n"MAU"\n0\n0.5\n5\n{rows}\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [long_textgrid(), long_textgrid("bob - phones"), short_textgrid()])
def test_textgrids(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "grids" / "bob" / "u.TextGrid"
    path.parent.mkdir(parents=True)
    path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read_any_alignment(path) == {"u": SPOKEN}
    assert read_any_alignment(tmp_path / "grids") == {"bob/u": SPOKEN}


def test_tiers_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    path.write_text(long_textgrid("segs"))
    assert read_any_alignment(path, "segs")["u"] == SPOKEN
    assert [s.label for s in read_any_alignment(path, "words")["u"]] == ['the "cats" 2']
    for tier in (None, "notes", "gone"):
        with pytest.raises(UserError, match=r"needs one interval tier .*\['notes', 'segs', 'words'\]"):
            read_any_alignment(path, tier)


def test_ctm(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    # 0.35 s of 'a' rounded to 0.14 s: the gap of 10 ms is rounding, as is the overlap of 's'.
    path.write_text(
        ";; comment\nu 1 0.00 0.10 sil\nu 1 0.20 0.14 a 0.9\nu 1 0.10 0.10 k\nu 1 0.35 0.06 t\nu 1 0.40 0.10 s\n"
    )
    assert [(s.start, round(s.end, 4), s.label) for s in read_any_alignment(path)["u"]] == [
        (s.start, s.end, s.label) for s in SPOKEN
    ]


def test_our_own(tmp_path: Path) -> None:
    write_alignment(tmp_path / "alignments.tsv", {"u": SPOKEN}, "phone")
    assert read_any_alignment(tmp_path / "alignments.tsv") == {"u": SPOKEN}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("u.TextGrid", "no grid", "not a TextGrid"),
        ("u.TextGrid", short_textgrid().replace('0.35\n0.4\n"t"', '0.3\n0.4\n"t"'), "'t' from 0.3 to 0.4 s .*overlaps"),
        ("u.TextGrid", short_textgrid()[:-30], "not a TextGrid"),
        ("a.ctm", "u 1 0 0.1\n", ":1 is not `utterance channel"),
        ("a.ctm", "u 1 -0.5 0.1 a\n", "is negative"),
        ("a.ctm", "u 1 0 0.5 a\nu 1 0.3 0.5 b\n", "overlaps"),
        ("a.ctm", ";; nothing\n", "holds no segments"),
    ],
)
def test_malformed_alignments(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_any_alignment(tmp_path / name)
    with pytest.raises(UserError, match="holds no .TextGrid"):
        (tmp_path / "empty").mkdir()
        read_any_alignment(tmp_path / "empty")

"""First screen: the answer in plain words, few words before anything is opened, evidence behind.

The report is that of the recorded study `digits`: 51 trials, their accuracies and their bits.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.analysing import analyse
from analysis.document import Analysis, read_json
from analysis.inference.claims import Finding
from analysis.report.bundle import bundle, rerender, write_report
from analysis.report.cards import EXAMPLES, MOST_CARDS, build_cards
from analysis.report.markdown import ordered
from analysis.report.screen import MOST_SENTENCES, first_screen, sentences
from analysis.results.results import Results
from analysis.results.table import read_table
from analysis.results.trials import AbsentStatus, AbsentTrial, Declaration

HERE = Path(__file__).parent
MOST_WORDS, LONGEST_SENTENCE = 900, 30
PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "input", "br", "img"}


class Visible(HTMLParser):
    """The text that a reader sees before anything is opened or switched on, by paragraph."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.path: list[tuple[str, Mapping[str, str | None]]] = []
        self.paragraphs: list[str] = [""]
        self.feed(text)

    @property
    def words(self) -> list[str]:
        return [word for word in " ".join(self.paragraphs).split() if re.search(r"\w", word)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.path.append((tag, dict(attrs)))
        if tag in {"p", "li", "summary", "td", "th", "text", "h1", "h2", "figcaption", "label"}:
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        while self.path and self.path.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not self._is_hidden():
            self.paragraphs[-1] += data

    def _is_hidden(self) -> bool:
        tags = [tag for tag, _ in self.path]
        if {"head", "script", "style", "desc", "title"} & set(tags):
            return True
        for place, (tag, attributes) in enumerate(self.path):
            classes = str(attributes.get("class") or "").split()
            if tag == "details" and tags[place + 1 : place + 2] != ["summary"]:
                return True
            is_front = tag == "figure" and str(attributes.get("id")).startswith("f-")
            if is_front and "chosen" not in classes:
                return True
            if {"ring", "band", "seed", "test-set"} & set(classes):
                return True
        return False


@pytest.fixture(scope="module")
def recorded() -> Results:
    """Return the trials of the study digits as they were recorded."""
    results = read_table(
        HERE / "digits.csv",
        bits=HERE / "digits_bits.npz",
        num_validation=297,
        num_classes=10,
        clean_floor=0.9,
        objective_radius=0.1,
        attack="PGD-10, 3 restarts",
        validation_attack="PGD-10, 1 restart",
        searched=("sam_at",),
        study="digits",
    )
    texts = {(t.method, *t.values.items()): t for t in results.trials}
    return replace(
        results,
        trials=tuple(replace(t, address=f"http://127.0.0.1/{t.run}") for t in results.trials),
        declarations=tuple(
            Declaration(method=t.method, values=t.values, text=f"one: {t.method}\n")
            for t in texts.values()
        ),
    )


@pytest.fixture(scope="module")
def analysed(recorded: Results) -> Analysis:
    return analyse(recorded, replicates=300)


@pytest.fixture(scope="module")
def files(analysed: Analysis) -> dict[str, bytes]:
    return bundle(analysed)


@pytest.fixture(scope="module")
def pictured(recorded: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report of two trials, one with a picture, the other with a hostile address."""
    one, other = recorded.trials[:2]
    few = replace(recorded, trials=(one, replace(other, address="javascript:alert(1)")))
    folder = tmp_path_factory.mktemp("pictured") / "report"
    return write_report(few, folder, replicates=20, pictures={one.run: PNG})


@pytest.fixture(scope="module")
def text(files: dict[str, bytes]) -> str:
    return files["index.html"].decode()


def test_few_words_are_visible_before_anything_is_opened(text: str) -> None:
    assert 150 < len(Visible(text).words) <= MOST_WORDS


def test_every_visible_sentence_is_short(text: str) -> None:
    long = [
        sentence
        for paragraph in Visible(text).paragraphs
        for sentence in sentences(paragraph)
        if len(sentence.split()) >= LONGEST_SENTENCE
    ]
    assert long == []


def test_the_answer_says_what_the_figure_shows_and_names_configurations(
    analysed: Analysis,
) -> None:
    answer = first_screen(analysed, ordered(analysed.findings)).answer
    told = [sentence for finding in answer for sentence in sentences(finding.plain)]
    assert len(told) <= MOST_SENTENCES
    best = {
        front.note.name: front.best for front in analysed.choice.fronts if front.best is not None
    }
    at, sam = (best[name] for name in ("at", "sam"))
    assert told[0] == (
        "“at” is far more robust than “sam” at about the same clean accuracy: "
        f"{100 * at.robust[1].mean:.1f}% (ε=0.15) against {100 * sam.robust[1].mean:.1f}% (ρ=0.6), "
        f"clean {100 * at.clean.mean:.1f} and {100 * sam.clean.mean:.1f}%."
    )
    assert told[1].startswith("Averaged over required clean accuracies of 90.0–100%, the")
    assert told[2].startswith("“sam” (ρ=0.6) is as robust as “at” trained at ε ≈ 0.0")


def test_the_answer_leaves_out_a_second_finding_of_a_kind_and_what_no_longer_fits(
    analysed: Analysis,
) -> None:
    one = Finding(kind="a", text="", status="claimed", plain="A is so. B is so.", primary=True)
    again = replace(one, plain="C.", primary=False)
    other, last = replace(again, kind="b", plain="D. E."), replace(again, kind="c", plain="F.")
    answer = first_screen(analysed, [one, again, other, last]).answer
    assert [finding.plain for finding in answer] == ["A is so. B is so.", "F."]


def test_what_a_rung_stopped_is_no_trial_without_a_result(
    analysed: Analysis, recorded: Results
) -> None:
    def absent(seed: int, status: AbsentStatus, reason: str) -> AbsentTrial:
        values = {"rho": 0.9}
        return AbsentTrial(method="sam", values=values, seed=seed, status=status, reason=reason)

    stopped = (
        absent(0, "stopped", "stopped at epoch 4 of 20"),
        absent(1, "stopped", "not started: its configuration was stopped"),
        absent(2, "spared", "not started"),
    )
    screen = first_screen(replace(analysed, results=replace(recorded, absent=stopped)), ())
    assert screen.strip[0].value == "51 of 54"
    assert screen.strip[0].label == "trials done; 2 stopped, 1 spared"
    assert "1 configuration stopped early" in screen.doubts
    assert not [doubt for doubt in screen.doubts if "without a result" in doubt]
    failed = (
        *stopped,
        replace(stopped[0], values={"rho": 0.8}, status="failed", reason="diverged"),
    )
    screen = first_screen(replace(analysed, results=replace(recorded, absent=failed)), ())
    assert "1 trial without a result" in screen.doubts


def test_methods_whose_intervals_overlap_are_not_called_far_apart(analysed: Analysis) -> None:
    level = [f for f in analysed.findings if "not told apart" in f.plain]
    assert any("“at” and “sam_at”" in f.plain for f in level)
    assert not any("far more" in f.plain for f in level)


def test_each_point_is_a_link_that_the_keyboard_reaches_and_names_its_numbers(
    analysed: Analysis, text: str
) -> None:
    links = re.findall(r'<a href="#(d\d+)" aria-label="([^"]*)"><use', text)
    radii = len(analysed.results.threat.radii)
    drawn = {key for key, _ in links}
    assert len(links) == radii * len(drawn)
    assert len(drawn) > len(analysed.found) // 2
    for key, name in links:
        assert f'<details class="card" id="{key}">' in text
        c = analysed.found[int(key[1:])]
        assert f"clean {100 * c.clean.mean:.1f}%" in name
    assert 'role="group"' in text


def test_a_row_leads_to_its_trials_their_runs_and_its_declaration(
    analysed: Analysis, text: str
) -> None:
    cards = build_cards(analysed)
    assert [card.key for card in cards] == [f"d{row}" for row in range(len(analysed.found))]
    for card, c in zip(cards, analysed.found, strict=True):
        assert f'<a href="#{card.key}">' in text
        assert len(card.trials.rows) == len(c.trials)
        assert [row[-1].target for row in card.trials.rows] == [t.address for t in c.trials]
        assert card.declaration == f"one: {c.method}\n"


def test_no_link_runs_a_script(recorded: Results, pictured: Path) -> None:
    shown = pictured.read_text(encoding="utf-8")
    assert f'href="{recorded.trials[0].address}"' in shown
    assert "javascript:" not in shown


def test_of_many_configurations_only_members_of_fronts_have_cards(
    analysed: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.report.cards.MOST_CARDS", 5)
    members = {c.key for front in analysed.choice.fronts for c in front.members}
    shown = build_cards(analysed)
    assert MOST_CARDS > 5 >= len(shown) > 0
    assert all(analysed.found[int(card.key[1:])].key in members for card in shown)


def test_images_are_a_file_of_their_own_and_survive_another_rendering(
    pictured: Path, tmp_path: Path
) -> None:
    examples = (pictured.parent / EXAMPLES).read_text(encoding="utf-8")
    assert "data:image/png;base64," in examples
    link = re.search(rf'href="{EXAMPLES}#(c\d+)"', pictured.read_text(encoding="utf-8"))
    assert link is not None
    assert f'id="{link[1]}"' in examples
    again = rerender(pictured.parent / "front.json", tmp_path / "again")
    assert again.read_bytes() == pictured.read_bytes()
    assert (again.parent / EXAMPLES).read_text(encoding="utf-8") == examples


def test_without_pictures_there_is_no_file_of_images(files: dict[str, bytes]) -> None:
    assert EXAMPLES not in files
    assert EXAMPLES.encode() not in files["index.html"]
    document = read_json(files["front.json"].decode())
    assert document.results.pictured == ()


def test_a_column_s_figure_has_its_width_and_no_type_3_fonts(files: dict[str, bytes]) -> None:
    width = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", files["front_column.pdf"])
    assert width is not None
    assert float(width[1]) == pytest.approx(3.25 * 72)
    for name in ("front.pdf", "front_column.pdf"):
        assert b"/Type3" not in files[name]
        assert b"/FontFile2" in files[name]


def test_findings_md_has_the_best_first_and_no_long_numbers(files: dict[str, bytes]) -> None:
    written = files["findings.md"].decode()
    assert written.index("far more robust") < written.index("half of its clean accuracy")
    table = [line for line in written.splitlines() if line.startswith("| ")]
    assert len(table) > 5
    assert not re.search(r"\de-\d|\d\.\d{5}", "\n".join(table))

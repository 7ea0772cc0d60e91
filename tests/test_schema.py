"""The schema contract: what is in it, where the channels stand, how it is written down, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hg_helpers.cohort.art import ART_DEMO, ART_FULL
from hg_helpers.cohort.schema import Feature, Schema

PUBLISHED = [
    *("VL", "CD4", "Rel CD4", "Gender", "Ethnic", "Base Drug Combo", "Comp. INI", "Comp. NNRTI", "Extra PI"),
    *("Extra pk-En", "VL (M)", "CD4 (M)", "Drug (M)"),
]


def test_the_demo_schema_has_the_published_widths():
    assert ART_DEMO.names == ["VL", "CD4", "Gender", "Ethnic", "Base Drug Combo", "Extra PI", "Extra pk-En"]
    assert (ART_DEMO.channels, ART_DEMO.width) == (22, 18)
    assert (ART_DEMO.length, ART_DEMO.regular, ART_DEMO.missing) == (60, True, "error")


def test_the_full_schema_has_the_columns_of_the_published_file():
    assert ART_FULL.names == PUBLISHED
    assert ART_FULL.columns == ["PatientID", "Timestep", *PUBLISHED]


def test_the_published_codes_begin_at_one_for_people_and_at_zero_for_drugs():
    assert ART_FULL["Gender"].codes == (1, 2) and ART_FULL["Gender"].levels == ("Male", "Female")
    assert ART_FULL["Ethnic"].codes == (1, 2, 3, 4) and ART_FULL["Ethnic"].levels[2] == "Caucasian"
    for name in ("Base Drug Combo", "Comp. INI", "Comp. NNRTI", "Extra PI", "Extra pk-En", "Drug (M)"):
        assert ART_FULL[name].codes == tuple(range(len(ART_FULL[name].levels)))
    assert [f.name for f in ART_FULL.static] == ["Gender", "Ethnic"]
    assert [f.name for f in ART_FULL.regimen] == PUBLISHED[5:10]


@pytest.mark.parametrize("schema", [ART_DEMO, ART_FULL, ART_FULL.select(PUBLISHED[::-1])], ids=["demo", "full", "back"])
@pytest.mark.parametrize(("spans", "total"), [("spans", "channels"), ("embedded_spans", "width")])
def test_spans_tile_the_channels_in_the_order_of_the_features(schema, spans, total):
    spans = getattr(schema, spans)
    covered = np.concatenate([np.arange(getattr(schema, total))[span] for span in spans.values()])
    assert list(spans) == schema.names
    assert covered.tolist() == list(range(getattr(schema, total)))


def test_a_feature_knows_its_widths():
    assert (Feature("a", "real").channels, Feature("a", "real").embedding) == (1, 1)
    assert (Feature("a", "binary", levels=(0, 1)).channels, Feature("a", "binary", levels=(0, 1)).embedding) == (2, 2)
    five = Feature("a", "categorical", levels=range(5))
    assert (five.channels, five.embedding, five.codes) == (5, 4, (0, 1, 2, 3, 4))
    assert Feature("a", "categorical", levels=["x", "y", "z"], embedding=3).embedding == 3


def test_selecting_keeps_everything_but_the_features():
    schema = Schema([Feature("a", "real"), Feature("b", "real")], "who", "when", 7, False, "forward")
    chosen = schema.select(["b"])
    assert chosen.names == ["b"]
    rest = (chosen.patient, chosen.time, chosen.length, chosen.regular, chosen.missing)
    assert rest == ("who", "when", 7, False, "forward")
    with pytest.raises(KeyError, match=r"no feature 'c'.*a, b"):
        schema.select(["c"])


# --- written down and read again ------------------------------------------------------------------------------------

# Without control characters and line separators, which YAML's writer folds: a file is written by a person.
letters = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
names = st.text(letters, min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
level_lists = st.one_of(
    st.lists(st.text(letters, max_size=8), min_size=2, max_size=6, unique=True),
    st.lists(
        st.sampled_from(["yes", "no", "on", "off", "y", "n", "true", "null", "~", "1", "1e3"]), min_size=2, unique=True
    ),
    st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=6, unique=True),
    st.lists(finite, min_size=2, max_size=4, unique=True),
)


@st.composite
def features(draw, name):
    kind = draw(st.sampled_from(["real", "binary", "categorical"]))
    if kind == "real":
        outcome = draw(st.booleans())
        more = {"role": "outcome", "threshold": draw(st.none() | finite)} if outcome else {}
        transform = draw(st.sampled_from(["box-cox", "yeo-johnson", "none"]))
        return Feature(
            name, kind, unit=draw(st.text(letters, max_size=5)), static=draw(st.booleans()), transform=transform, **more
        )
    levels = draw(level_lists)[: 2 if kind == "binary" else None]
    codes = tuple(range(len(levels))) if draw(st.booleans()) else ()
    role = draw(st.sampled_from([None, "regimen"]))
    return Feature(name, kind, levels, codes, role=role, static=draw(st.booleans()), embedding=draw(st.integers(0, 9)))


@st.composite
def schemas(draw):
    patient, time, *columns = draw(st.lists(names, min_size=3, max_size=7, unique=True))
    chosen = [draw(features(name)) for name in columns]
    return Schema(
        chosen,
        patient,
        time,
        draw(st.integers(1, 99)),
        draw(st.booleans()),
        draw(st.sampled_from(["error", "forward"])),
    )


@settings(deadline=None, max_examples=60)
@given(schemas())
def test_any_schema_comes_back_from_a_dict_and_from_yaml(tmp_path_factory, schema):
    assert Schema.from_dict(schema.to_dict()) == schema
    path = tmp_path_factory.mktemp("schema") / "schema.yaml"
    path.write_text(yaml.safe_dump(schema.to_dict(), allow_unicode=True), encoding="utf-8")
    again = Schema.from_yaml(path)
    assert again == schema
    # equality alone takes 1, 1.0 and True for the same
    assert [list(map(type, f.codes)) for f in again] == [list(map(type, f.codes)) for f in schema]


def test_numbers_of_numpy_become_plain_ones_so_that_they_can_be_written_down():
    feature = Feature("a", "categorical", levels=np.array(["x", "y"]), codes=np.unique([2, 1]))
    assert [type(v) for v in (*feature.levels, *feature.codes)] == [str, str, int, int]
    assert yaml.safe_load(yaml.safe_dump(Schema([feature]).to_dict()))["features"][0]["codes"] == [1, 2]


def _yaml(tmp_path: Path, text: str) -> Schema:
    path = tmp_path / "schema.yaml"
    path.write_text(text, encoding="utf-8")
    return Schema.from_yaml(path)


def test_bare_yes_and_no_in_yaml_stay_text_and_true_stays_a_boolean(tmp_path):
    schema = _yaml(
        tmp_path,
        """
        patient: id
        time: day
        regular: false
        features:
          - {name: ascites, kind: binary, levels: [no, yes], codes: [0, 1], static: true}
          - {name: lamp, kind: binary, levels: [on, off]}
          - {name: answer, kind: binary, levels: [false, true]}
          - {name: µg, kind: real, unit: µg/L}
        """,
    )
    assert schema["ascites"].levels == ("no", "yes") and schema["lamp"].codes == ("on", "off")
    assert schema["answer"].codes == (False, True) and type(schema["answer"].codes[0]) is bool
    assert schema["ascites"].static is True and schema.regular is False
    assert schema["µg"].label == "µg (µg/L)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a list of `key: value` lines, not NoneType"),
        ("patient: id", "needs a list `features:`"),
        ("features: [bili]", "feature number 1 must be a list of `key: value` lines, not str"),
        ("features: [{name: a}]", "feature number 1 .a. has no `kind:`"),
        ("features: [{name: a, kind: real, colour: red}]", "unknown key 'colour'.*known keys are name, kind"),
        ("lenght: 6\nfeatures: [{name: a, kind: real}]", "unknown key 'lenght'"),
        ("regular: no\nfeatures: [{name: a, kind: real}]", "regular must be True or False, not 'no'"),
        ("features: [{name: a, kind: real, static: no}]", "'a': static must be True or False, not 'no'"),
        ("features: [{name: a, kind: real, role: outcome, threshold: 1e3}]", "threshold '1e3' must be a number"),
        ("features: [{name: a, kind: binary, levels: 3}]", "'a': levels must be a list of values, not 3"),
        ("features: [{name: a, kind: binary, levels: [2020-01-01, 2020-02-01]}]", "level .* must be a number or text"),
        ("features:\n  - name: a\n kind: real", "line"),
    ],
)
def test_a_wrong_schema_file_is_refused_with_its_name_and_what_is_wrong(tmp_path, text, message):
    with pytest.raises(ValueError, match=rf"schema file .*schema\.yaml(?s:.*){message}"):
        _yaml(tmp_path, text)


def test_a_schema_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        Schema.from_yaml(tmp_path / "nowhere.yaml")


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "name must be a non-empty string"),
        ({"name": 3}, "name must be a non-empty string, not 3"),
        ({"kind": "number"}, "'x': kind 'number' is not one of 'real', 'binary', 'categorical'"),
        ({"kind": "real", "levels": (1, 2)}, "'x': a real feature has no levels"),
        ({"kind": "real", "codes": (1, 2)}, "'x': a real feature has no levels"),
        ({"levels": "abc"}, "'x': levels must be a list of values, not 'abc'"),
        ({"codes": "abc"}, "'x': codes must be a list of values, not 'abc'"),
        ({"levels": ("a",)}, "needs at least two levels, not 1"),
        ({"kind": "binary", "levels": (1, 2, 3)}, "exactly two levels, not 3"),
        ({"codes": (1, 2)}, "2 codes for 3 levels"),
        ({"levels": ("a", "b", "a")}, "a level is listed twice"),
        ({"codes": (1, 1.0, 2)}, "a code is listed twice"),
        ({"levels": ("a", "b", None)}, "a missing value cannot be a level"),
        ({"codes": (1.0, 2.0, float("nan"))}, "a missing value cannot be a level"),
        ({"codes": (1, 2, "3")}, "all numbers or all text, not a mixture"),
        ({"levels": ([1], [2], [3])}, r"level \[1\] must be a number or text"),
        ({"transform": "log"}, "transform 'log' is not one of 'box-cox'"),
        ({"role": "drug"}, "role 'drug' is not one of 'regimen', 'outcome', None"),
        ({"kind": "real", "levels": (), "role": "regimen"}, "role 'regimen' is for binary and categorical"),
        ({"threshold": 3.0}, "threshold belongs to a real feature"),
        ({"kind": "real", "levels": (), "threshold": 3.0}, "threshold belongs to a real feature with role 'outcome'"),
        ({"static": "no"}, "static must be True or False, not 'no'"),
        ({"embedding": -1}, "embedding must be a whole number of at least 1, not -1"),
        ({"embedding": 2.5}, "embedding must be a whole number of at least 1, not 2.5"),
        (
            {"kind": "real", "levels": (), "embedding": 2},
            "at least 1 and at most 1, not 2",
        ),
    ],
)
def test_a_wrong_feature_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        Feature(**{"name": "x", "kind": "categorical", "levels": ("a", "b", "c"), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ()}, "at least one Feature"),
        ({"features": Feature("a", "real")}, "needs a list of at least one Feature"),
        ({"features": ["a"]}, "at least one Feature"),
        ({"features": (Feature("a", "real"), Feature("a", "real"))}, "column 'a' stands twice"),
        ({"patient": "a"}, "column 'a' stands twice"),
        ({"patient": "t", "time": "t"}, "column 't' stands twice"),
        ({"time": ""}, "the schema's time must be a non-empty string"),
        ({"length": 0}, "length must be a whole number of at least 1, not 0"),
        ({"length": 6.0}, "length must be a whole number of at least 1, not 6.0"),
        ({"length": True}, "length must be a whole number of at least 1, not True"),
        ({"shorter": "cut"}, "shorter 'cut' is not one of 'keep', 'drop', 'error'"),
        ({"date_format": 3}, "date_format 3 must be text"),
        ({"regular": "no"}, "regular must be True or False, not 'no'"),
        ({"missing": "backward"}, "missing 'backward' is not one of 'error', 'measured', 'forward'"),
    ],
)
def test_a_wrong_schema_is_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        Schema(**{"features": (Feature("a", "real"),), **arguments})

"""The judge: right answers of all kinds pass, wrong ones are refused in words that name the kind, nothing crashes."""

import inspect
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from hg_helpers import exercises, metrics
from hg_helpers.cohort.art import ART_DEMO
from hg_helpers.cohort.simulate import simulate_cohort
from hg_helpers.exercises.judging import exercise
from hg_helpers.exercises.outcomes import WORDS, edited
from hg_helpers.exercises.toy import toy_latents
from tests.answers import nb01, nb02, nb03, nb04, nb05, nb06

MODULES = nb01, nb02, nb03, nb04, nb05, nb06
ANSWERS = {name: both for module in MODULES for name, both in module.ANSWERS.items()}
CHECKS = {name: getattr(exercises, f"check_{name}") for name in ANSWERS}
FUNCTIONS = [name for name, check in CHECKS.items() if not check.is_value]
RIGHT = [(name, i) for name, (right, _) in ANSWERS.items() for i in range(len(right))]
WRONG = [(name, i) for name, (_, wrong) in ANSWERS.items() for i in range(len(wrong))]


def told(capsys) -> str:
    out = capsys.readouterr().out
    assert out.endswith("\n") and "Traceback" not in out
    return out


def test_every_check_is_tried_with_five_right_and_twelve_wrong_answers():
    assert {f"check_{name}" for name in ANSWERS} == {name for name in exercises.__all__ if name.startswith("check_")}
    for right, wrong in ANSWERS.values():
        assert len(right) >= 5 and len(wrong) >= 12
        assert sum(word is not None for _, word in wrong) >= 0.7 * len(wrong)


def test_words_are_those_of_an_exercise_or_of_any():
    assert set(WORDS) == {f"check_{name}" for name in ANSWERS} | {"any answer", "any argument"}
    for name, check in CHECKS.items():
        assert check.praise and check.task and bool(check.mistakes) != bool(check.examine), name


@pytest.mark.parametrize(("name", "number"), RIGHT)
def test_a_right_answer_passes(name, number, capsys):
    passed = CHECKS[name](ANSWERS[name][0][number])
    message = told(capsys)
    assert passed is True and message.startswith("Right: ") and message.count("\n") == 1, message


@pytest.mark.parametrize(("name", "number"), WRONG)
def test_a_wrong_answer_is_refused_and_its_mistake_named(name, number, capsys):
    answer, word = ANSWERS[name][1][number]
    passed = CHECKS[name](answer)
    message = told(capsys)
    assert passed is False and message.startswith("Not yet: ") and (word is None or word in message), message


@pytest.mark.parametrize("name", CHECKS)
def test_each_known_mistake_is_refused_and_told_by_its_own_sentence(name):
    check = CHECKS[name]
    sentences = [sentence for _, sentence in check.known]
    for wrong, sentence in check.known:
        problem = check.problem(wrong() if check.is_value else wrong)
        assert problem is not None, sentence
        assert any(other in problem for other in sentences), f"{sentence}: {problem}"


# --- wrong in ways that every answer can be ---------------------------------------------------------------------------


def spoilt(right, arguments):
    """Answers that no exercise accepts, made of a right one, each with a word of its message."""

    def recursive(*a):
        return recursive(*a)

    def leaves(*a):
        sys.exit(1)

    def raises(*a):
        raise KeyError("month")

    def seeds(*a):
        np.random.seed(0)
        torch.manual_seed(0)
        return right(*a)

    def yields(*a):
        yield right(*a)

    async def waits(*a):
        return right(*a)

    class Answer:
        def __init__(self, *a):
            self.value = right(*a)

    class Hostile:
        """Comparable with nothing, not even by its shape, nor printable."""

        def __array__(self, *_, **__):
            raise RuntimeError("no numbers in here")

        @property
        def shape(self):
            raise RuntimeError("no shape either")

        def __repr__(self):
            raise RuntimeError("nor words")

    extra = eval(f"lambda {', '.join(f'a{i}' for i in range(arguments + 1))}: 1")
    yield from [
        (..., "replace the `...`"),
        (None, "replace the `...`"),
        (lambda *a: ..., "replace the `...`"),
        (lambda *a: (right(*a), None)[1], "needs `return`"),
        (lambda *a: print(right(*a)), "instead of print"),
        (recursive, "RecursionError"),
        (leaves, "SystemExit"),
        (raises, "KeyError"),
        (seeds, "seeds the global"),
        (yields, "list"),
        (waits, "async"),
        (Answer, "class"),
        (extra, "takes"),
        (lambda: 1, "takes"),
        (lambda *a: "7", ""),
        (lambda *a: {"answer": 7}, ""),
        (lambda *a: right, ""),
        (lambda *a: float("nan"), ""),
        (lambda *a: True, ""),
        (lambda *a: np.zeros((7, 2)), ""),
        (lambda *a: [[1, 2], [3]], ""),
        (lambda *a: Hostile(), ""),
        (lambda *a: object(), ""),
        (lambda *a: [], ""),
        ("hello", "no function"),
        (np.ones(3), "no function"),
        (Hostile(), "no function"),
    ]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_no_exercise_accepts_is_told_what_it_is(name, capsys):
    check = CHECKS[name]
    for answer, word in spoilt(ANSWERS[name][0][0], len(inspect.signature(check.reference).parameters)):
        assert check(answer) is False
        message = told(capsys)
        assert message.startswith("Not yet: ") and word in message, message


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_right_answer_may_print_on_its_way(name, capsys):
    def talks(*a):
        print("looking at", len(a), "arguments")
        return ANSWERS[name][0][0](*a)

    assert CHECKS[name](talks) is True
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_check_leaves_the_global_random_numbers_as_they_were(name):
    np.random.seed(7)
    torch.manual_seed(7)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    CHECKS[name].problem(lambda *a: np.random.rand() + torch.rand(1))
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before


# --- what later cells run on ------------------------------------------------------------------------------------------


def test_later_cells_run_on_the_learners_function_where_it_is_right_and_say_so(capsys):
    def my_scale(train, new):
        return [min(max((value - min(train)) / (max(train) - min(train)), 0), 1) for value in new]

    mine = exercises.chosen("scale", my_scale)
    assert "your `my_scale`" in told(capsys)
    value = mine(np.array([0.0, 4.0]), np.array([1.0, 5.0]))
    assert isinstance(value, np.ndarray) and value.tolist() == [0.25, 1]  # a list there, what the package gives here


@pytest.mark.parametrize("stub", [..., lambda train, new: ..., lambda train, new: new])
def test_later_cells_run_on_the_package_where_the_learner_is_not_there_yet(stub, capsys):
    package = CHECKS["scale"].reference
    assert exercises.chosen("scale", stub) is package
    name = "your `<lambda>`" if callable(stub) else "your answer"
    assert f"package's own version: {name} has not passed" in told(capsys)
    assert exercises.chosen("scale", stub, np.clip) is np.clip


def test_an_answer_that_is_a_value_is_not_called_by_a_name_that_it_has_not(capsys):
    for answer, run_on in ((toy_latents().mean(1, keepdim=True), "your answer."), (..., "your answer has not passed")):
        exercises.chosen("toy_prototypes", answer)
        assert run_on in told(capsys)


# --- four cohorts without names ---------------------------------------------------------------------------------------


def test_the_scores_of_the_suspects_are_those_of_four_cohorts_and_a_floor():
    train, holdout, real = (simulate_cohort(150, seed=seed) for seed in (21, 22, 23))
    pool, floor = simulate_cohort(400, seed=24), simulate_cohort(150, seed=25)
    first = pool[(pool["Timestep"] == 0) & (pool["Gender"] == 1) & (pool["Ethnic"] == 4)]
    order = real.groupby("PatientID")["Timestep"].transform(np.random.default_rng(0).permutation)
    single = pool[pool["PatientID"].isin(first["PatientID"][:150])]
    cohorts = {"A": single, "B": real, "C": real.assign(Timestep=order), "D": train, "floor": floor}
    scores = {
        "ks": lambda cohort: metrics.ks(holdout, cohort, ART_DEMO),
        "coverage_patient": lambda cohort: metrics.coverage(holdout, cohort, ART_DEMO, ["Gender", "Ethnic"], "patient"),
        "autocorrelation_difference": lambda cohort: metrics.autocorrelation_difference(holdout, cohort, ART_DEMO),
        "near_copies": lambda cohort: metrics.copies(train, cohort, ART_DEMO),
    }
    anew = {who: {name: of(cohort)[0] for name, of in scores.items()} for who, cohort in cohorts.items()}
    pd.testing.assert_frame_equal(exercises.suspects(), pd.DataFrame(anew), rtol=1e-3)


# --- predict, then run ------------------------------------------------------------------------------------------------


def test_a_guess_is_held_against_what_happened_and_none_gives_nothing_away(capsys):
    said = {}
    for guess, happened in ((0.33, 0.3), (0.1, 0.3), (0, 0.0), (-2, 1), ("No", True), (True, True), ("v2", "v1")):
        exercises.predicted(guess, happened)
        said[guess, happened] = told(capsys)
    assert [line.rsplit(" ", 2)[-2:] for line in said.values()][:4] == [
        ["about", "right.\n"],
        ["too", "low.\n"],
        ["about", "right.\n"],
        ["too", "low.\n"],
    ]
    assert "it is yes" in said["No", True] and "so it is" in said[True, True] and "it is v1" in said["v2", "v1"]
    for guess in (None, ...):
        exercises.predicted(guess, 0.123)
        assert "0.123" not in told(capsys)
    exercises.predicted(["A", " b "], ["a", "b", "c"])
    assert "2 of 3 in the right place" in told(capsys)


# --- what the judge names by itself -----------------------------------------------------------------------------------


@exercise(
    {"two": ([2.0, 3.0], [1.0, 5.0], 0.5), "three": ([4.0, 7.0, 1.0], [2.0, 2.5, 0.5], 3.0)},
    praise="weighed.",
    task="first + share * second**2.",
    mistakes={
        "first + second": "nothing is weighed.",
        "share * second -> second; **2 -> **3": "a cube without weight.",
    },
)
def check_weighed(first, second, share):
    return first + share * second**2


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda first, second, share: first + second**2, "`share` makes no difference"),
        (lambda first, second, share: share * second**2, "`first` makes no difference"),
        (lambda first, second, share: second + share * first**2, "`first` and `second` have changed places"),
        (lambda first, second, share: first - share * second**2, "the sign of `share` is turned round"),
        (lambda first, second, share: first + share * second, "a root of `second` is too many"),
        (lambda first, second, share: first + second**2 / share, "`share` divides"),
        (lambda first, second, share: first + share * (second + 1) ** 2, "`second` counts as one more"),
        (lambda first, second, share: first + share * second.mean() ** 2, "`second` is averaged first"),
        (lambda first, second, share: first + second, "nothing is weighed"),
        (lambda first, second, share: first + second**3, "a cube without weight"),
        (lambda first, second, share: first + 0.3 * share * second**3, "not the values"),
    ],
)
def test_a_mistake_with_an_argument_is_named_in_any_exercise(answer, word):
    assert check_weighed.problem(lambda *a: check_weighed.reference(*a)) is None
    assert word in check_weighed.problem(answer)


def test_an_argument_that_matters_by_its_mean_alone_is_not_called_unused():
    answer = check_weighed.problem(lambda first, second, share: first.mean() + 0 * first + share * second**2)
    assert "makes no difference" not in answer and "`first` is averaged first" in answer


def test_an_edit_of_what_the_right_answer_does_not_hold_is_refused():
    with pytest.raises(ValueError, match="holds no 'third'"):
        edited(check_weighed.reference, "third -> first")

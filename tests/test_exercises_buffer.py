"""The checks of notebook 04: right answers pass, likely mistakes are named, nonsense crashes nothing."""

import pytest
import torch

from hg_helpers.exercises import nb04_buffer as checks

T = checks.toy_latents()
NONSENSE = ["words", 3.0, torch.zeros(7), [[1, 2], [3]], {}, float("nan"), lambda *_: "words", lambda: 1]
ALL = [
    checks.check_toy_prototypes,
    checks.check_running_scale,
    checks.check_queue,
    checks.check_latent_noise,
    checks.check_kept_variance,
]


def right_queue(prototypes, capacity, generator):
    if len(prototypes) <= capacity:
        return prototypes
    return prototypes[torch.randperm(len(prototypes), generator=generator)[:capacity]]


RIGHT = {
    checks.check_toy_prototypes: T.mean(1, keepdim=True),
    checks.check_running_scale: lambda scale, t: (scale + t.std(dim=(0, 1), keepdim=True)) / 2,
    checks.check_queue: right_queue,
    checks.check_latent_noise: lambda z, scale, prototypes, chosen: z * scale + prototypes[chosen],
    checks.check_kept_variance: lambda v, s, n: (v + s**2 / 12 / n, (v + s**2 / 12) / n),
}

WRONG = [
    (checks.check_toy_prototypes, T.mean(1), "keepdim"),
    (checks.check_toy_prototypes, T.mean(0), "over patients, axis 0"),
    (checks.check_toy_prototypes, T.mean(2, keepdim=True), "over latent dimensions"),
    (checks.check_toy_prototypes, T.sum(1, keepdim=True), "divide by their number"),
    (checks.check_toy_prototypes, T[:, -1:], "last month"),
    (
        checks.check_running_scale,
        lambda s, t: (s + t.std(dim=(0, 1), keepdim=True, correction=0)) / 2,
        "divides by n - 1",
    ),
    (checks.check_running_scale, lambda s, t: t.std(dim=(0, 1), keepdim=True), "mean of itself"),
    (checks.check_running_scale, lambda s, t: (1 + t.std(dim=(0, 1), keepdim=True)) / 2, "averages with 1"),
    (checks.check_running_scale, lambda s, t: (s + t.var(dim=(0, 1), keepdim=True)) / 2, "variance"),
    (
        checks.check_running_scale,
        lambda s, t: (s + t.mean(1, keepdim=True).std(0, keepdim=True)) / 2,
        "spread of the proto",
    ),
    (checks.check_running_scale, lambda s, t: (s + t.std()) / 2, "one deviation for all dimensions"),
    (checks.check_running_scale, lambda s, t: (s + t.std(dim=(0, 1))).flatten() / 2, "shape is not"),
    (checks.check_queue, lambda p, c, g: p[torch.randint(len(p), (min(c, len(p)),), generator=g)], "with replacement"),
    (checks.check_queue, lambda p, c, g: p[-c:], "newest 8 stay"),
    (checks.check_queue, lambda p, c, g: p[:c], "oldest 8 stay"),
    (checks.check_queue, lambda p, c, g: right_queue(p, c + 1, g), "off by one"),
    (checks.check_queue, lambda p, c, g: right_queue(p, c, torch.Generator().manual_seed(0)), "generator=generator"),
    (checks.check_queue, lambda p, c, g: right_queue(p, c, None), "from `generator` alone"),
    (checks.check_queue, lambda p, c, g: p[torch.randperm(len(p), generator=g)[:c]][:, 0], "return the rows"),
    (checks.check_queue, lambda p, c, g: p[:c] + 0.5, "rows of `prototypes` as they are"),
    (checks.check_latent_noise, lambda z, s, p, c: (z + p[c]) * s, "multiplied by T_SD too"),
    (checks.check_latent_noise, lambda z, s, p, c: z + p[c], "T_SD is missing"),
    (checks.check_latent_noise, lambda z, s, p, c: z * s, "prototype is missing"),
    (checks.check_latent_noise, lambda z, s, p, c: z * s - p[c], "a sign"),
    (checks.check_latent_noise, lambda z, s, p, c: z * s + p, "prototypes[chosen]"),
    (checks.check_latent_noise, lambda z, s, p, c: z * s + p[c, 0], "belongs to the patient"),
    (checks.check_latent_noise, lambda z, s, p, c: (z * s + p[c])[:, 0], "shape is"),
    (checks.check_kept_variance, lambda v, s, n: ((v + s**2 / 12) / n, v + s**2 / 12 / n), "swapped"),
    (checks.check_kept_variance, lambda v, s, n: (v + s / 12 / n, (v + s / 12) / n), "its square"),
    (checks.check_kept_variance, lambda v, s, n: (v + s**2 / n, (v + s**2) / n), "1/12"),
    (checks.check_kept_variance, lambda v, s, n: (v + s**2 / 12, (v + s**2 / 12) / n), "one month's variance"),
    (
        checks.check_kept_variance,
        lambda v, s, n: (v + s**2 / 12 / n**0.5, (v + s**2 / 12) / n**0.5),
        "standard deviation",
    ),
]


def told(capsys) -> str:
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("check", ALL)
def test_the_right_answer_passes(check, capsys):
    assert check(RIGHT[check]) is True
    assert told(capsys).startswith("Right: ")


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("blank", [..., None, lambda *_: ..., lambda *_: None])
def test_a_stub_is_told_to_be_filled_in(check, blank, capsys):
    assert check(blank) is False
    line = told(capsys)
    assert line.startswith("Not yet: ")
    assert "nothing has been filled in" in line or (check is checks.check_toy_prototypes and callable(blank))


@pytest.mark.parametrize(("check", "answer", "words"), WRONG)
def test_a_likely_mistake_is_named(check, answer, words, capsys):
    assert check(answer) is False
    line = told(capsys)
    assert line.startswith("Not yet: ") and words in line, line


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_is_answered_and_crashes_nothing(check, answer, capsys):
    assert check(answer) is False
    assert told(capsys).startswith("Not yet: ")


@pytest.mark.parametrize("check", ALL[1:])
def test_an_error_in_the_learners_function_is_named(check, capsys):
    def broken(*_):
        raise KeyError("month")

    assert check(broken) is False
    assert "KeyError" in told(capsys)


def test_a_scale_that_is_right_only_once_is_told_at_which_batch(capsys):
    def first_only(scale, t):
        sd = t.std(dim=(0, 1), keepdim=True)
        return (scale + sd) / 2 if torch.equal(scale, torch.ones_like(scale)) else scale + sd

    assert checks.check_running_scale(first_only) is False
    assert "second" in told(capsys)


def test_a_queue_that_loses_patients_while_there_is_room_is_told(capsys):
    assert checks.check_queue(lambda p, c, g: right_queue(p, min(c, len(p) - 1), g)) is False
    assert "room for 8" in told(capsys)

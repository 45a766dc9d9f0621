"""Names that are allowed, and texts that no medium takes for more than text."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.text import (
    as_latex,
    as_markdown,
    check_arm_name,
    check_experiment_name,
    check_read_arm_name,
    listed,
    printable,
    shortened,
    without_formulas,
)


@pytest.mark.parametrize("name", ["relu", "smelu_half", "2-layers", "_", "a" * 200])
def test_an_arm_is_named_with_letters_digits_and_dashes(name):
    assert check_arm_name(name) == check_read_arm_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a b", "a.b", "a|b", "=1", "a\n", "../a", "é", "<b>", "a" * 201, None, 3]
)
def test_any_other_name_of_an_arm_is_refused_alike(name):
    for check in (check_arm_name, check_read_arm_name):
        with pytest.raises((ValueError, TypeError)):
            check(name)


@pytest.mark.parametrize("name", ["smelu@0.5", "smelu@1e-05", "smelu@-2"])
def test_results_alone_have_arms_of_a_search(name):
    assert check_read_arm_name(name) == name
    with pytest.raises(ValueError, match="expected letters"):
        check_arm_name(name)


@pytest.mark.parametrize("name", ["movielens", "criteo [/b]", r"\input{x} $1$", "Größe 2"])
def test_an_experiment_has_any_name_of_one_line(name):
    assert check_experiment_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "a\nb", "a\x1b[0m", "..", "a/../b", "/etc", "a//b", "a" * 201]
)
def test_a_name_of_lines_or_of_another_folder_is_refused(name):
    with pytest.raises(ValueError, match="expected a line of 1 to 200 characters"):
        check_experiment_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 5 % − ÷ β", "plain 5 % − ÷ β"),
        ("no\N{NO-BREAK SPACE}break", "no\N{NO-BREAK SPACE}break"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[31m\x07\x9b", r"\x1b[31m\x07\x9b"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}", r"\u202e\u2028"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == shown


def test_a_long_text_is_shown_without_its_middle():
    assert shortened("a" * 500 + "b" * 500, 100) == "a" * 70 + " ... " + "b" * 25
    assert shortened("a" * 100, 100) == "a" * 100
    assert len(listed(range(5000))) == 240


def test_latex_has_no_command_of_a_text():
    assert as_latex(r"\a{b} $c$ 5% & d_e #1 ~^ ±") == (
        r"\textbackslash{}a\{b\} \$c\$ 5\% \& d\_e \#1 \textasciitilde{}\textasciicircum{} $\pm$"
    )


def test_markdown_has_no_markup_of_a_text():
    assert as_markdown("smelu_half 1.2 [1.1, 1.3]") == "smelu_half 1.2 [1.1, 1.3]"
    assert as_markdown("![a](b) <img> a|b `c` *d* _e_ &lt; \\") == (
        r"![a\](b) \<img> a\|b \`c\` \*d\* \_e\_ \&lt; \\"
    )


def test_csv_has_no_formula_of_a_text():
    table = pd.DataFrame({"a": ["=1", "+1", "-1", "@a", "b"], "n": [-1.0, 2.0, 3.0, 4.0, 5.0]})

    assert without_formulas(table).values.tolist() == [
        ["'=1", -1.0],
        ["'+1", 2.0],
        ["'-1", 3.0],
        ["'@a", 4.0],
        ["b", 5.0],
    ]

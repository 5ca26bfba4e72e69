"""Patients nobody has met: a table like the Alzheimer family's real one, for machines that do not have that file.

The columns and their ranges are the real table's; how the diagnosis comes about is our own. It follows thresholds and
combinations of five measures, as a clinician's rule would, so that a linear model cannot follow it all the way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 2149
SEED = 42
FIRST_IDENTIFIER = 4751
# Share of patients whose diagnosis the rule does not explain.
UNEXPLAINED = 0.05
# Mini-Mental State Examination, 0-30: from here on up it speaks against dementia (Folstein et al. 1975).
COGNITION_KEPT = 24
COGNITION_FAR_DOWN = 18
# Middle of the two 0-10 scales, 10 being no impairment.
HALF_OF_SCALE = 5

Cells = NDArray[Any]


def invent_alzheimer(rows: int = ROWS, seed: int = SEED) -> str:
    """Invent patients as CSV text; the same rows for the same arguments.

    Args:
        rows: Number of patients.
        seed: Of all draws.
    """
    random = np.random.default_rng(seed)
    columns: dict[str, Cells] = {"PatientID": np.arange(FIRST_IDENTIFIER, FIRST_IDENTIFIER + rows)}
    columns |= _person(random, rows) | _history(random, rows) | _body(random, rows) | _signs(random, rows)
    columns["Diagnosis"] = _diagnosis(random, columns)
    columns["DoctorInCharge"] = np.full(rows, "XXXConfid")
    cells = [_text(column) for column in columns.values()]
    return "\n".join([",".join(columns), *(",".join(row) for row in zip(*cells, strict=True)), ""])


def _person(random: np.random.Generator, rows: int) -> dict[str, Cells]:
    return {
        "Age": random.integers(60, 91, rows),
        "Gender": random.integers(0, 2, rows),
        "Ethnicity": random.choice(4, rows, p=[0.6, 0.2, 0.1, 0.1]),
        "EducationLevel": random.choice(4, rows, p=[0.2, 0.4, 0.3, 0.1]),
        "BMI": _bell(random, rows, 27.5, 5.0, 15, 40),
        "Smoking": _flag(random, rows, 0.3),
        "AlcoholConsumption": random.uniform(0, 20, rows),
        "PhysicalActivity": random.uniform(0, 10, rows),
        "DietQuality": random.uniform(0, 10, rows),
        "SleepQuality": _bell(random, rows, 7, 1.5, 4, 10),
    }


def _history(random: np.random.Generator, rows: int) -> dict[str, Cells]:
    shares = {
        "FamilyHistoryAlzheimers": 0.25,
        "CardiovascularDisease": 0.15,
        "Diabetes": 0.15,
        "Depression": 0.2,
        "HeadInjury": 0.1,
        "Hypertension": 0.15,
    }
    return {name: _flag(random, rows, share) for name, share in shares.items()}


def _body(random: np.random.Generator, rows: int) -> dict[str, Cells]:
    return {
        "SystolicBP": _bell(random, rows, 134, 18, 90, 180).astype(np.int64),
        "DiastolicBP": _bell(random, rows, 84, 12, 60, 120).astype(np.int64),
        "CholesterolTotal": _bell(random, rows, 225, 32, 150, 300),
        "CholesterolLDL": _bell(random, rows, 124, 32, 50, 200),
        "CholesterolHDL": _bell(random, rows, 58, 16, 20, 100),
        "CholesterolTriglycerides": _bell(random, rows, 190, 75, 50, 400),
    }


def _signs(random: np.random.Generator, rows: int) -> dict[str, Cells]:
    return {
        "MMSE": random.uniform(0, 30, rows),
        "FunctionalAssessment": random.uniform(0, 10, rows),
        "MemoryComplaints": _flag(random, rows, 0.2),
        "BehavioralProblems": _flag(random, rows, 0.16),
        "ADL": random.uniform(0, 10, rows),
        "Confusion": _flag(random, rows, 0.2),
        "Disorientation": _flag(random, rows, 0.16),
        "PersonalityChanges": _flag(random, rows, 0.15),
        "DifficultyCompletingTasks": _flag(random, rows, 0.16),
        "Forgetfulness": _flag(random, rows, 0.3),
    }


def _diagnosis(random: np.random.Generator, columns: dict[str, Cells]) -> Cells:
    """Cognition must be impaired; then both scales decide, or one of them together with what is reported.

    Reports beside two low scales count for another illness unless cognition is far down: no sum of the measures says
    this, which is the point.
    """
    cognition = columns["MMSE"]
    functions = columns["FunctionalAssessment"] < HALF_OF_SCALE
    lives = columns["ADL"] < HALF_OF_SCALE
    reported = (columns["MemoryComplaints"] == 1) | (columns["BehavioralProblems"] == 1)
    decided = np.where(reported, functions ^ lives, functions & lives)
    far_down = functions & lives & (cognition < COGNITION_FAR_DOWN)
    explained = (cognition < COGNITION_KEPT) & (decided | far_down)
    unexplained = random.random(len(explained)) < UNEXPLAINED
    return (explained ^ unexplained).astype(np.int64)


def _bell(random: np.random.Generator, rows: int, mean: float, spread: float, low: float, high: float) -> Cells:
    """Normally distributed within [low, high); what falls outside is spread evenly inside."""
    drawn = random.normal(mean, spread, rows)
    return np.where((drawn >= low) & (drawn < high), drawn, random.uniform(low, high, rows))


def _flag(random: np.random.Generator, rows: int, share: float) -> Cells:
    return (random.random(rows) < share).astype(np.int64)


def _text(column: Cells) -> list[str]:
    """Cells of a column; fractions with four digits, which no machine rounds differently."""
    return [f"{value:.4f}" if isinstance(value, float) else str(value) for value in column.tolist()]

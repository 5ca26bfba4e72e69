"""Daily sales 42 days ahead: history, features, boosters and the ensemble of them.

The modules of this folder travel with every registered ensemble, so that it loads where this project is not; how it
learns and what it is worth lies in the folders below.
"""

from __future__ import annotations

from pathlib import Path

ENSEMBLE = Path("artifacts", "ensemble")
"""Folder in a version's files that holds a sales ensemble."""

"""The rules a version is judged by, as evidence: what decides, its digest, and how it changed."""

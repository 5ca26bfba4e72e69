"""The monthly report for auditors: what moved, on what evidence, and what needs attention."""

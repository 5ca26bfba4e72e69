"""What `kubectl diff` prints, read field by field."""

from __future__ import annotations

from promotion.delivery.kubernetes.differences import read_differences

SERVICE = """\
diff -N -U1000000 /tmp/LIVE-1/v1.Service.models-production.tiny /tmp/MERGED-2/v1.Service.models-production.tiny
--- /tmp/LIVE-1/v1.Service.models-production.tiny\t2026-11-29 21:00:00.000000000 +0000
+++ /tmp/MERGED-2/v1.Service.models-production.tiny\t2026-11-29 21:00:00.000000000 +0000
@@ -1,12 +1,11 @@
 apiVersion: v1
 kind: Service
 metadata:
   name: tiny
 spec:
   ports:
   - name: http
-    port: 81
+    port: 80
   selector:
-    app: somebody-else
+    app: tiny
     track: stable
"""
SCALED = """\
--- /tmp/LIVE-1/apps.v1.Deployment.models-production.tiny\t2026
+++ /tmp/MERGED-2/apps.v1.Deployment.models-production.tiny\t2026
@@ -1,9 +1,9 @@
 apiVersion: apps/v1
 kind: Deployment
 metadata:
-  generation: 7
+  generation: 8
   name: tiny
 spec:
-  replicas: 4
+  replicas: 1
   template: {}
"""
MISSING = """\
--- /tmp/LIVE-1/policy.v1.PodDisruptionBudget.models-production.tiny\t1970
+++ /tmp/MERGED-2/policy.v1.PodDisruptionBudget.models-production.tiny\t2026
@@ -0,0 +1,5 @@
+apiVersion: policy/v1
+kind: PodDisruptionBudget
+metadata:
+  name: tiny
+spec: {}
"""


def test_each_field_is_named_with_both_values() -> None:
    """Parts of a list go by their names."""
    assert [
        "Service tiny: spec.ports.http.port is 81, the manifests say 80",
        "Service tiny: spec.selector.app is 'somebody-else', the manifests say 'tiny'",
    ] == read_differences(SERVICE)


def test_what_the_server_counts_and_the_autoscaler_decides_is_no_difference() -> None:
    """The generation, and the number of pods."""
    assert [] == read_differences(SCALED)


def test_objects_that_are_missing_are_named_among_others() -> None:
    """Several objects come one after the other."""
    found = read_differences(SCALED + MISSING + SERVICE)

    assert "PodDisruptionBudget tiny is missing" == found[0]
    assert 3 == len(found)


def test_nothing_is_no_difference() -> None:
    """Kubectl prints nothing then."""
    assert [] == read_differences("")


def test_a_diff_of_another_shape_is_shown_as_it_is() -> None:
    """Better the changed lines than nothing."""
    assert ["-  a: b", "+  a: c"] == read_differences("--- x\n+++ y\n@@ -3 +3 @@\n-  a: b\n+  a: c\n")

"""Watch the version that serves: live performance, drift, and the service around it, judged against its promotion."""

"""Every family on one page: what serves, what waits for whom, what is wrong; read, not run."""

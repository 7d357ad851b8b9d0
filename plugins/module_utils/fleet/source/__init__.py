"""The source of the application: what a site names, and the files of it that go to the hosts."""

#!/usr/bin/python
"""Documentation of the action of the same name, which does the work on the controller."""

DOCUMENTATION = r"""
module: app_bundle
short_description: Make the archive of a release on the controller
description:
  - Collects the application's source, the C(celery_fleet) package and the lock into one archive, and names
    the release after their content. The same content gives the same name on every controller.
  - Builds the project itself, if it is to be installed.
  - Everything that keeps the application from becoming a release is found at once.
  - Writes nothing but the cache, so it works in check mode too and never reports a change.
options:
  name:
    description: Name of the application, which labels a release that has no version.
    type: str
    required: true
  source:
    description: Where the application comes from.
    type: dict
    required: true
    options:
      type:
        description: Kind of the source.
        type: str
        choices: [directory, git, package]
        required: true
      path:
        description: Source tree on the controller.
        type: path
      url:
        description: What C(git clone) is given.
        type: str
      version:
        description: Tag, branch or commit.
        type: str
      subdirectory:
        description: Where the application lies in the tree or the repository.
        type: str
      include:
        description: Paths and patterns of files of the tree that go although git ignores them.
        type: list
        elements: str
      exclude:
        description: Paths and patterns of files that do not go.
        type: list
        elements: str
      key:
        description: Private key that may read the repository.
        type: str
      known_hosts:
        description: Lines of C(known_hosts) for the repository's host.
        type: str
      username:
        description: User for HTTPS.
        type: str
      password:
        description: Password or token for HTTPS.
        type: str
      requirement:
        description: A wheel on the controller, or a package that the lock pins, such as C(shop==1.4.2).
        type: str
  requirements:
    description: Lock of uv, Poetry, Pipenv or pip; a path in the source or on the controller.
    type: str
    required: true
  groups:
    description: Groups of the lock that are installed beside the main one.
    type: list
    elements: str
  extras:
    description: Extras of the project whose requirements are installed.
    type: list
    elements: str
  hashes:
    description: Whether every requirement must have hashes; without it they must.
    type: bool
  sdists:
    description: Packages without a wheel that may be built on the hosts.
    type: list
    elements: str
  python:
    description: Interpreter on the hosts, part of the release's name.
    type: str
    required: true
  install:
    description: Whether the project itself is installed; C(auto) if it names a build system.
    type: raw
    default: auto
  files:
    description: Further files of the release by their paths, each with C(content) or C(source).
    type: dict
    default: {}
  working_directory:
    description: Where processes of the application start; a relative path must be in the source.
    type: str
    default: ""
  autoconfigure:
    description: Module and app that become a member of the fleet by themselves; empty if there is none.
    type: str
    default: ""
  accepted:
    description: Reasons by the findings that the site accepts.
    type: dict
    default: {}
  look:
    description: Whether what is found is only returned, and does not fail the task.
    type: bool
    default: false
  kit:
    description: Directory of the C(celery_fleet) package.
    type: path
    required: true
  builders:
    description: Lock of what builds packages without a wheel.
    type: path
    required: true
  cache:
    description: Directory on the controller for archives and git mirrors.
    type: path
    required: true
extends_documentation_fragment: [celery_fleet.kit.indexes]
attributes:
  check_mode: {support: full}
author: celery-fleet (@celery-fleet)
"""

EXAMPLES = r"""
- name: Make the archive of the demo application
  celery_fleet.kit.app_bundle:
    name: demo
    source: {type: directory, path: /srv/demo}
    requirements: requirements.lock
    python: python3
    kit: /srv/celery-fleet/celery_fleet
    builders: /srv/celery-fleet/requirements/builders.txt
    cache: /srv/celery-fleet/.cache
  delegate_to: localhost
"""

RETURN = r"""
release:
  description: Name of the release, empty if there are errors.
  type: str
  returned: always
  sample: demo-0123456789ab
archive:
  description: The archive on the controller.
  type: str
  returned: always
lock:
  description: A copy of the lock on the controller, named after its content.
  type: str
  returned: always
versions:
  description: Versions of Celery and kombu that the lock pins.
  type: dict
  returned: always
requires_python:
  description: Specifier of the Pythons on which the application runs, empty if it says none.
  type: str
  returned: always
findings:
  description: What is wrong with the source or the lock, or worth knowing.
  type: list
  elements: dict
  returned: always
"""

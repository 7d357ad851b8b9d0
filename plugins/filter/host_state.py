"""Items of the module host_state that are made from a mapping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.users import unix_users
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.files.vault_id import mark, newer_is_kept
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.marks import items
from ansible_collections.celery_fleet.kit.plugins.module_utils.fleet.host.names import home_of, user_of


def secret_files(
    names: Iterable[str],
    directory: str,
    group: str,
    own: Mapping[str, str] | None = None,
    owner: str = "root",
    **groups: str,
) -> list[dict[str, Any]]:
    """Return a directory that holds secrets, and nothing else, as items of the module host_state.

    Args:
        names: The files' names, which are those of the secrets.
        directory: Path of the directory.
        group: Who may read them beside root.
        own: For each name that one group may read, that group; also with a suffix.
        owner: Who else may read those.
        groups: Who may read those of these names, with or without a suffix, instead of `group`.

    Returns:
        The directory, whose names only that group may list, and its files.
    """

    def rights(name: str) -> dict[str, str]:
        base = name.partition(".")[0]
        if own and base in own:
            return {"owner": owner, "group": own[base], "mode": "0440"}
        return {"owner": "root", "group": groups.get(base, group), "mode": "0640"}

    return [
        {"directory": directory, "owner": "root", "group": group, "mode": "0751", "exact": True},
        *({"file": f"{directory}/{name}", "secret": str(name)} | rights(str(name)) for name in names),
    ]


def unix_accounts(users: Mapping[str, str], group: str) -> list[dict[str, Any]]:
    """Return users who each have a group and a directory of their own, as items of host_state.

    Args:
        users: What `unix_users` returns.
        group: The group that they all have.

    Returns:
        The group, the users, and their own groups.
    """
    return [
        item
        for user in users.values()
        for item in (
            {"group": group},
            {"user": user, "group": group, "home": str(home_of(user))},
            {"group": user, "members": [user]},
        )
    ]


def source_files(sources: Iterable[str], directory: str) -> list[dict[str, Any]]:
    """Return a directory that holds only copies of the controller's files, as items of host_state.

    Args:
        sources: Paths of the files on the controller.
        directory: Path of the directory on the host.

    Returns:
        The directory and its files, which all may read.
    """
    root_owned = {"owner": "root", "group": "root"}
    return [
        {"directory": directory, "mode": "0755", "exact": True, **root_owned},
        *(
            {"file": f"{directory}/{Path(path).name}", "source": path, "mode": "0644", **root_owned}
            for path in sources
        ),
    ]


def package_files(packages: Iterable[str], directory: str) -> list[dict[str, Any]]:
    """Return a directory with copies of the controller's Python packages, as items of host_state.

    Args:
        packages: Paths of packages' directories and of modules on the controller.
        directory: Path of the directory on the host.

    Returns:
        The directories and their files, which all may read; others in them are removed.
    """
    top = Path(directory)
    files: dict[Path, list[str]] = {top: []}
    for path in map(Path, packages):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            files.setdefault(top / file.parent.relative_to(path.parent), []).append(str(file))
    return [item for place, sources in files.items() for item in source_files(sources, str(place))]


def drop_ins(paths: Iterable[str], template: str) -> list[dict[str, Any]]:
    """Return files of one content, with their directories, as items of host_state.

    Args:
        paths: Paths of the files on the host.
        template: The role's template of their content.

    Returns:
        Each directory and its file, which all may read.
    """
    mine = {"owner": "root", "group": "root"}
    return [
        item
        for path in paths
        for item in (
            {"directory": str(Path(path).parent), "mode": "0755", **mine},
            {"file": path, "template": template, "mode": "0644", **mine},
        )
    ]


def command_files(pools: Mapping[str, Any], common: str, directory: str) -> list[dict[str, Any]]:
    """Return the files of what a command of the application has, as items of host_state.

    Args:
        pools: The pools of the host, as `host_plan` returns them.
        common: Path of the file for commands of no pool.
        directory: Path of the directory with a file for each pool.

    Returns:
        The directory and the files, which only root may read.
    """
    private = {"owner": "root", "group": "root", "mode": "0600", "template": "command.conf.j2"}
    return [
        {"file": common, "vars": {"__worker_pool": {"environment": {}}}, **private},
        {"directory": directory, "owner": "root", "group": "root", "mode": "0700", "exact": True},
        *(
            {"file": f"{directory}/{name}.conf", "vars": {"__worker_pool": pool}, **private}
            for name, pool in pools.items()
        ),
    ]


def counter_places(pools: Iterable[str], directory: str, tmpfiles: str, group: str) -> list[dict[str, Any]]:
    """Return where workers keep what they have counted, as items of the module host_state.

    Args:
        pools: The pools of the host.
        directory: Path of the directory, in memory.
        tmpfiles: Path of the file by which systemd makes it at boot.
        group: Who may read them beside the pool's own user.

    Returns:
        The file, and the directories as they are after the next boot.
    """
    root_owned = {"owner": "root", "group": "root"}
    return [
        {"file": tmpfiles, "template": "tmpfiles.conf.j2", "mode": "0644", **root_owned},
        {"directory": directory, "mode": "0755", **root_owned},
        *(
            {"directory": f"{directory}/{pool}", "owner": user_of(pool), "group": group, "mode": "0750"}
            for pool in pools
        ),
    ]


def marks(paths: Iterable[str]) -> list[dict[str, Any]]:
    """Return empty files that record something, as items of host_state.

    Args:
        paths: Their paths on the host.

    Returns:
        The files, with the mode that systemd gives them.
    """
    return [{"file": path, "content": "", "owner": "root", "group": "root", "mode": "0640"} for path in paths]


def fleet_mark(fleet: str, path: str) -> list[dict[str, Any]]:
    """Return the file by which a host names the fleet that it carries, as an item of host_state.

    Args:
        fleet: Name of the fleet.
        path: Path of the file on the host.

    Returns:
        The file, which all may read; nothing for the fleet that needs no name.
    """
    made: list[dict[str, Any]] = items(str(fleet), str(path), owner="root", group="root")
    return made


def vault_mark(vault_id: str, path: str) -> list[dict[str, Any]]:
    """Return the file by which a host knows the environment's file of secrets, as an item of host_state.

    Args:
        vault_id: The id of the file of secrets; none if it is not to be known.
        path: Path of the file on the host.

    Returns:
        The file, which all may read.
    """
    text = mark(str(vault_id)) + "\n"
    item = {"file": path, "content": text, "owner": "root", "group": "root", "mode": "0644"}
    return [{**item, "validate": newer_is_kept(str(path))}] if vault_id else []


class FilterModule:
    """Filters of the roles that use host_state."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "command_files": command_files,
            "counter_places": counter_places,
            "drop_ins": drop_ins,
            "fleet_mark": fleet_mark,
            "marks": marks,
            "package_files": package_files,
            "secret_files": secret_files,
            "source_files": source_files,
            "unix_accounts": unix_accounts,
            "unix_users": unix_users,
            "vault_mark": vault_mark,
        }

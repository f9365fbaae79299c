//! `exec`: one more process in a container that runs.
//!
//! ```text
//!   --process FILE     the whole process, as the specification has it
//!   else               the specification's process, with the words as its arguments, over which come
//!                      --cwd --env --tty --user --additional-gids --cap --no-new-privs --apparmor --process-label
//! ```

use std::path::Path;

use failure::{Context as _, Error, Result};
use oci_spec::runtime::{Capabilities, Capability, Process, Spec, User, UserBuilder};
use runtime::{Exec, cgroup};
use rustix::fs::{Mode, OFlags};

use super::create;
use crate::command::Command;
use crate::container::{Container, Status};
use crate::directory::{Root, read_whole};
use crate::flags::{Flag, Order, Words};
use crate::global::Global;
use crate::make::{Terminal, absolute, program, write_pid_file};
use crate::preserved::Preserved;
use crate::signals::Signals;
use crate::{bundle, foreground, words};

pub(crate) static COMMAND: Command = Command {
    name: "exec",
    about: "execute new process inside the container",
    usage: "<container-id> <command> [command options]  || -p process.json <container-id>",
    description: "Runs one more process in a running container. The exit code is its own, or 128 and the number of the\n\
                  signal that ended it.",
    flags: &[
        create::CONSOLE_SOCKET,
        Flag::value(&["cwd"], "current working directory in the container"),
        Flag::value(&["env", "e"], "set environment variables"),
        Flag::plain(&["tty", "t"], "allocate a pseudo-TTY"),
        Flag::value(&["user", "u"], "UID (format: <uid>[:<gid>])"),
        Flag::value(&["additional-gids", "g"], "additional gids"),
        Flag::value(&["process", "p"], "path to the process.json"),
        Flag::plain(&["detach", "d"], "detach from the container's process"),
        create::PID_FILE,
        Flag::value(&["process-label"], "set the asm process label for the process commonly used with selinux"),
        Flag::value(&["apparmor"], "set the apparmor profile for the process"),
        Flag::plain(&["no-new-privs"], "set the no new privileges value for the process"),
        Flag::value(&["cap", "c"], "add a capability to the bounding set for the process"),
        create::PRESERVE_FDS,
        Flag::value(&["cgroup"], "run the process in an existing group below the container's: [<controller>:]<cgroup>"),
        Flag::plain(&["ignore-paused"], "allow exec in a paused container"),
    ],
    order: Order::FlagsFirst,
    words: (1, usize::MAX),
    run,
};

fn run(global: &Global, words: &Words) -> Result<u8> {
    let container = Container::find(global, &words.rest[0])?;
    let record = container.record()?;
    if !record.own_users {
        // Early: what is done before this is done twice.
        runtime::sealed::ensure()?;
    }
    check(&container, words.has("ignore-paused"))?;
    let pid_file = words.value("pid-file").filter(|path| !path.is_empty()).map(absolute).transpose()?;
    let text = container.directory.read_config()?.ok_or_else(|| Error::internal("config.json is gone"))?;
    let spec = bundle::parse(&text)?;
    let linux = spec.linux().as_ref().ok_or_else(|| Error::invalid("config.json has no `linux`"))?;
    let (mut process, warnings) = process(&spec, words)?;
    warnings.iter().for_each(|line| global.log.warning(line));
    let preserved = Preserved::read(words.number("preserve-fds")?)?;
    add_environment(&mut process, &preserved.environment);
    let detach = words.has("detach");
    let terminal = Terminal::of(&process, words.value("console-socket"), detach)?;
    let signals = if detach { None } else { Some(Signals::block()?) };
    let cache = Root::seccomp_cache(&global.root);
    let told = container.hook_state("running", record.process.pid)?;
    let exec = Exec {
        target: &record.process,
        cgroup: &group(&record.cgroup, words.values("cgroup"))?,
        process: &process,
        linux,
        filter: None,
        seccomp_cache: Some(&cache),
        preserved: preserved.count,
        container: Some(&told),
    };
    let name = program(Some(&process));
    let mut running =
        runtime::exec(&exec, terminal.stdio()?).map_err(|failed| words::not_started("exec", &name, failed))?;
    if let (Some(console), Some(master)) = (terminal.console, &running.terminal) {
        console.send(master).inspect_err(|_| words::end(&running))?;
        running.terminal = None;
    }
    if let Some(path) = &pid_file {
        write_pid_file(path, running.identity.pid).inspect_err(|_| words::end(&running))?;
    }
    match signals {
        Some(signals) => foreground::follow(&running, &signals),
        None => Ok(0),
    }
}

fn check(container: &Container, ignore_paused: bool) -> Result<()> {
    match container.status() {
        Status::Stopped | Status::Creating => {
            Err(Error::conflict("cannot exec in a stopped container: container not running"))
        }
        Status::Paused if !ignore_paused => {
            Err(Error::conflict("cannot exec in a paused container (use --ignore-paused to override)"))
        }
        _ => Ok(()),
    }
}

/// What is to be executed, as whom.
/// What to execute, and what was left out of its description.
fn process(spec: &Spec, words: &Words) -> Result<(Process, Vec<String>)> {
    let arguments = words.rest.get(1..).unwrap_or_default();
    if let Some(path) = words.value("process").filter(|path| !path.is_empty()) {
        return of_file(Path::new(path));
    }
    if arguments.is_empty() {
        return Err(Error::invalid("process args cannot be empty"));
    }
    let mut process = spec.process().clone().ok_or_else(|| Error::invalid("config.json has no `process`"))?;
    process.set_args(Some(arguments.to_vec()));
    if let Some(directory) = words.value("cwd").filter(|path| !path.is_empty()) {
        process.set_cwd(directory.into());
    }
    // Its own size is the specification's business; a terminal of ours is measured.
    process.set_terminal(Some(words.has("tty"))).set_console_size(None);
    if words.is_given("no-new-privs") {
        process.set_no_new_privileges(Some(words.has("no-new-privs")));
    }
    if let Some(profile) = words.value("apparmor").filter(|profile| !profile.is_empty()) {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if let Some(label) = words.value("process-label").filter(|label| !label.is_empty()) {
        process.set_selinux_label(Some(label.to_owned()));
    }
    let variables: Vec<String> = words.values("env").map(str::to_owned).collect();
    add_environment(&mut process, &variables);
    add_capabilities(&mut process, words.values("cap"))?;
    let user = user(process.user(), words)?;
    process.set_user(user);
    Ok((process, Vec::new()))
}

fn of_file(path: &Path) -> Result<(Process, Vec<String>)> {
    let failed = || format!("cannot read the process of `{}`", path.display());
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).with_context(failed)?;
    let text = read_whole(file, path)?;
    runtime::specification::read_process(&text).with_context(failed)
}

fn add_environment(process: &mut Process, variables: &[String]) {
    if !variables.is_empty() {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend_from_slice(variables);
        process.set_env(Some(environment));
    }
}

/// Bounding, effective and permitted; not inheritable, which would hand them to programs of other users.
fn add_capabilities<'a>(process: &mut Process, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let parse = |name: &str| -> Result<Capability> {
        let unknown = |_| Error::invalid(format!("unknown capability `{name}`"));
        let plain = name.to_ascii_uppercase();
        let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
        serde_json::from_value(serde_json::Value::from(format!("CAP_{plain}"))).map_err(unknown)
    };
    let added = names.map(parse).collect::<Result<Vec<_>>>()?;
    if added.is_empty() {
        return Ok(());
    }
    let mut sets = process.capabilities().clone().unwrap_or_default();
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(added.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// The process's user with other numbers: `uid`, `uid:gid`, and groups beside.
fn user(base: &User, words: &Words) -> Result<User> {
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| Error::invalid(format!("`{text}` is no user or group number; give uid[:gid]")))
    };
    let (mut uid, mut gid) = (base.uid(), base.gid());
    if let Some(text) = words.value("user").filter(|text| !text.is_empty()) {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        uid = number(user)?;
        gid = group.map_or(Ok(gid), number)?;
    }
    let mut groups = base.additional_gids().clone().unwrap_or_default();
    for list in words.values("additional-gids") {
        groups.extend(list.split(',').map(number).collect::<Result<Vec<_>>>()?);
    }
    let user = UserBuilder::default().uid(uid).gid(gid).additional_gids(groups);
    let user = match base.umask() {
        Some(umask) => user.umask(umask),
        None => user,
    };
    user.build().map_err(|wrong| Error::internal(wrong.to_string()))
}

/// The container's group, or one below it.
fn group<'a>(container: &cgroup::Path, below: impl Iterator<Item = &'a str>) -> Result<cgroup::Path> {
    let mut path = container.clone();
    for text in below {
        if text.contains(':') {
            return Err(Error::unsupported(format!(
                "--cgroup `{text}`: a group of one controller is not supported; name one for all without `:`"
            )));
        }
        path = container.below(text)?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(words: &str) -> Result<Process> {
        let spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.0.0","process":{"user":{"uid":1,"gid":2,"additionalGids":[3]},"cwd":"/a",
                "env":["A=1"],"args":["sh"],"terminal":true,"noNewPrivileges":true}}"#,
        )
        .unwrap();
        let words = words.split(' ').map(str::to_owned).collect();
        process(&spec, &Words::parse(COMMAND.flags, COMMAND.order, words).unwrap()).map(|(process, _)| process)
    }

    #[test]
    fn the_flags_come_over_the_specification() {
        let plain = merged("id ls -t").unwrap();
        assert_eq!(plain.args().as_deref().unwrap(), ["ls", "-t"]);
        assert_eq!((plain.terminal(), plain.no_new_privileges()), (Some(false), Some(true)));
        assert_eq!((plain.user().uid(), plain.user().gid(), plain.cwd().to_str()), (1, 2, Some("/a")));
        let all = merged("-t --cwd /b -e B=2 -u 7:8 -g 9 --cap net_raw --no-new-privs=false id ls").unwrap();
        assert_eq!(all.env().as_deref().unwrap(), ["A=1", "B=2"]);
        assert_eq!((all.user().uid(), all.user().gid()), (7, 8));
        assert_eq!(all.user().additional_gids().as_deref().unwrap(), [3, 9]);
        assert_eq!((all.terminal(), all.no_new_privileges()), (Some(true), Some(false)));
        let sets = all.capabilities().clone().unwrap();
        assert!(sets.bounding().as_ref().unwrap().contains(&Capability::NetRaw));
        assert!(!sets.inheritable().clone().unwrap_or_default().contains(&Capability::NetRaw));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for words in ["id", "-u root id ls", "-g x id ls", "--cap NOSUCH id ls", "-u 1:b id ls"] {
            assert!(merged(words).is_err(), "{words}");
        }
        let container = cgroup::Path::new("/a").unwrap();
        assert!(group(&container, ["cpu:/b"].into_iter()).is_err());
        assert!(!group(&container, ["../b"].into_iter()).is_ok_and(|path| !path.as_str().starts_with("/a/")));
        assert_eq!(group(&container, ["/b"].into_iter()).unwrap().as_str(), "/a/b");
    }
}

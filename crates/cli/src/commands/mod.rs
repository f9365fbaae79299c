//! All commands, one file each (or each small family), and the one table of them.

mod attach;
mod check;
mod commit;
mod completion;
mod cp;
mod create;
mod creation;
mod df;
mod diff;
mod each;
mod exec;
mod export;
mod facts;
mod file_output;
mod filter;
mod history;
mod idfile;
mod image_mount;
mod image_tree;
mod image_view;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logs;
mod man;
mod manifest;
mod pause;
mod progress;
mod prune;
mod ps;
mod pull;
mod push;
mod rename;
mod rm;
mod rmi;
mod run;
mod save;
mod session;
mod start;
mod stats;
mod stop;
mod tag;
mod top;
mod version;
mod wait;

use crate::entry::{Entry, Group};
use clap::Command;

pub(crate) use creation::refused::why;

/// Every command, in the order of `skep --help`.
pub(crate) static ALL: &[Entry] = &[
    run::ENTRY,
    exec::ENTRY,
    ps::ENTRY,
    pull::ENTRY,
    images::ENTRY,
    attach::ENTRY,
    commit::ENTRY,
    cp::ENTRY,
    create::ENTRY,
    diff::ENTRY,
    export::ENTRY,
    inspect::ENTRY,
    kill::ENTRY,
    logs::ENTRY,
    pause::PAUSE,
    prune::CONTAINERS,
    rename::ENTRY,
    stop::RESTART,
    rm::ENTRY,
    start::ENTRY,
    stats::ENTRY,
    stop::STOP,
    top::ENTRY,
    pause::UNPAUSE,
    wait::ENTRY,
    history::ENTRY,
    prune::IMAGES,
    import::ENTRY,
    load::ENTRY,
    manifest::ANNOTATE,
    manifest::CREATE,
    manifest::INSPECT,
    manifest::PUSH,
    manifest::REMOVE,
    push::ENTRY,
    image_mount::MOUNT,
    rmi::ENTRY,
    save::ENTRY,
    tag::ENTRY,
    image_mount::UNMOUNT,
    completion::ENTRY,
    check::ENTRY,
    info::ENTRY,
    login::LOGIN,
    login::LOGOUT,
    prune::SYSTEM,
    df::ENTRY,
    version::ENTRY,
    inspect::CONTAINER,
    inspect::IMAGE,
    man::ENTRY,
];

/// Words that need a second one.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("manifest", "Manage lists of images for several platforms"),
    ("system", "Manage skep"),
];

/// The command that is called by these words: `ps`, `container ls`.
pub(crate) fn find(words: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.words.contains(&words))
}

/// The whole tree, for completions and the manual.
fn tree() -> Command {
    let leaf = |entry: &'static Entry, words: &'static str| {
        let name = words.rsplit(' ').next().unwrap_or(words);
        entry.shown(words).name(name).before_help("").hide(entry.group == Group::Hidden && name == "man")
    };
    let mut root = Command::new("skep").disable_help_subcommand(true);
    for entry in ALL {
        root = root.subcommands(entry.words.iter().filter(|word| !word.contains(' ')).map(|word| leaf(entry, word)));
    }
    for (group, about) in GROUPS {
        let mut branch = Command::new(*group).about(*about).disable_help_subcommand(true);
        for entry in ALL {
            let own = entry.words.iter().filter(|words| words.split(' ').next() == Some(*group) && words.contains(' '));
            branch = branch.subcommands(own.map(|words| leaf(entry, words)));
        }
        root = root.subcommand(branch);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_sound_and_called_by_its_own_words() {
        let mut all: Vec<&str> = Vec::new();
        for entry in ALL {
            for words in entry.words {
                assert!(!all.contains(words), "{words} twice");
                all.push(words);
                entry.command(words).debug_assert();
            }
        }
        tree().debug_assert();
    }

    #[test]
    fn all_verbs_of_the_surface_are_there() {
        let verbs = "run create start stop restart kill rm wait ps logs exec attach pause unpause top stats rename inspect \
                     diff cp export commit load push import images tag rmi save history version info login logout completion man";
        for verb in verbs.split_whitespace() {
            assert!(find(verb).is_some(), "{verb}");
        }
        let longer = "container ls,container prune,container inspect,image ls,image inspect,image prune,image rm,image push,manifest create,manifest inspect,manifest push,system info";
        for words in longer.split(',') {
            assert!(find(words).is_some(), "{words}");
        }
    }

    #[test]
    fn every_flag_says_what_it_does() {
        for entry in ALL {
            for argument in entry.command(entry.words[0]).get_arguments() {
                assert!(argument.is_hide_set() || argument.get_help().is_some(), "{}: {argument}", entry.words[0]);
            }
        }
    }
}

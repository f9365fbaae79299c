//! `skep --help`: a short manual, made of the table of commands.

use crate::commands;
use crate::entry::Group;

/// What skep is, in three lines.
pub(crate) const ABOUT: &str = "\
skep runs programs from images, each in a container of its own: own files, processes, users, limits. There is no
daemon: every command does its work and leaves; a small monitor stays beside each running container.";

const TAIL: &str = "\
Global Options:
      --root DIRECTORY       Where images and containers are kept (SKEP_ROOT) [/var/lib/skep]
      --run-root DIRECTORY   Where live things are kept (SKEP_RUN) [/run/skep]
  -D, --debug                Show the kind and the causes of failures
  -v, --version              Print version information and quit

First steps:
  skep run --rm -it host: bash                 a container of this machine's own files, with nothing to download
  docker save debian | skep load               an image from Docker, podman or skopeo
  skep run -d --name web -m 256m debian ...    in the background, with a limit
  skep ps; skep logs -f web; skep exec -it web sh; skep rm -f web

Run 'skep COMMAND --help' for more information on a command.
";

/// The whole text.
pub(crate) fn manual() -> String {
    let mut text = format!("Usage:  skep [OPTIONS] COMMAND\n\n{ABOUT}\n");
    let sections = [
        (Group::Common, "Common Commands"),
        (Group::Containers, "Commands for containers (also as 'skep container COMMAND')"),
        (Group::Images, "Commands for images (also as 'skep image COMMAND')"),
        (Group::System, "Other Commands"),
    ];
    for (group, title) in sections {
        text += &format!("\n{title}:\n");
        for entry in commands::ALL.iter().filter(|entry| entry.group == group) {
            text += &format!("  {:<15}  {}\n", entry.words[0], entry.about);
        }
    }
    text + "\n" + TAIL
}

/// The commands of a group such as `container`; none if there is no such group.
pub(crate) fn group(name: &str) -> Option<String> {
    let (_, about) = commands::GROUPS.iter().find(|(group, _)| *group == name)?;
    let mut text = format!("Usage:  skep {name} COMMAND\n\n{about}\n\nCommands:\n");
    let mut lines: Vec<(&str, &str)> = Vec::new();
    for entry in commands::ALL {
        let own = entry.words.iter().find_map(|words| words.strip_prefix(name)?.strip_prefix(' '));
        lines.extend(own.map(|word| (word, entry.about)));
    }
    lines.sort_unstable();
    for (word, about) in lines {
        text += &format!("  {word:<10}  {about}\n");
    }
    Some(text + &format!("\nRun 'skep {name} COMMAND --help' for more information on a command.\n"))
}

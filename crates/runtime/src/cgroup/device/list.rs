//! v1's device lists: one default and exceptions from it.
//!
//! ```text
//!   rules, in order                     list                               files
//!   deny a                              default: deny
//!   allow c 1:3 rwm          --->         c 1:3 rw             --->        devices.deny  a
//!   allow b 8:* r                         b 8:* r                          devices.allow c 1:3 rw
//!   deny c 1:3 m                                                           devices.allow b 8:* r
//! ```
//! The kernel forgets an exception only under the very numbers it was given with: a rule that cuts a piece out of a wider
//! exception ("all of `c 1:*`, but not `c 1:3`") would be taken and do nothing. It is refused, since a device would stay open
//! that the rules close. A request must be granted by one exception alone, so that a narrow one gets what the wider ones grant.

use std::collections::BTreeMap;

use failure::{Error, Result};
use oci_spec::runtime::LinuxDeviceCgroup;

use super::{EVERY_ACCESS, accesses, kind};

/// A write: `devices.allow` or `devices.deny`, and the line.
pub(in super::super) type Line = (&'static str, String);

/// From one list to another.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Changes {
    pub(in super::super) lines: Vec<Line>,
    /// Whether everything is open for a moment: nobody in the group may run meanwhile.
    pub(in super::super) opens: bool,
}

/// Which devices an exception is for; `None` is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Devices {
    letter: char,
    major: Option<u32>,
    minor: Option<u32>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct List {
    allow: bool,
    exceptions: BTreeMap<Devices, i32>,
}

/// The writes for a new group: everything is closed first.
pub(in super::super) fn v1_lines(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Line>> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    Ok(List::of(rules)?.lines())
}

/// The writes that turn what `devices.list` shows into what the rules say.
pub(in super::super) fn changes(shown: &str, rules: &[LinuxDeviceCgroup]) -> Result<Changes> {
    let (now, wanted) = (List::shown(shown), List::of(rules)?);
    if now.allow || wanted.allow {
        // An open list shows no exceptions, and everything that is written before the last of them is open.
        let opens = wanted.allow && !wanted.exceptions.is_empty();
        return Ok(Changes { lines: wanted.lines(), opens });
    }
    let missing = |from: &List, other: &List, name: &'static str| -> Vec<Line> {
        let part = |(devices, access): (&Devices, &i32)| {
            let rest = access & !other.exceptions.get(devices).copied().unwrap_or(0);
            (rest != 0).then(|| (name, line(*devices, rest)))
        };
        from.exceptions.iter().filter_map(part).collect()
    };
    let mut lines = missing(&wanted, &now, "devices.allow");
    lines.extend(missing(&now, &wanted, "devices.deny"));
    Ok(Changes { lines, opens: false })
}

/// An exception from "nothing": the letter, the numbers, the accesses.
pub(in super::super) type Allowed = (char, Option<u32>, Option<u32>, String);

/// What the rules allow, if they are a list of what is allowed and nothing else.
pub(in super::super) fn allowed(rules: &[LinuxDeviceCgroup]) -> Option<Vec<Allowed>> {
    let list = List::of(rules).ok().filter(|list| !list.allow)?;
    let each = |(devices, access): (&Devices, &i32)| (devices.letter, devices.major, devices.minor, letters(*access));
    Some(list.exceptions.iter().map(each).collect())
}

impl List {
    fn of(rules: &[LinuxDeviceCgroup]) -> Result<Self> {
        let mut list = Self::default();
        rules.iter().try_for_each(|rule| list.add(rule))?;
        let widest = list.exceptions.clone();
        for (devices, access) in &mut list.exceptions {
            let wider = widest.iter().filter(|(wide, _)| wide.cover(devices));
            *access |= wider.fold(0, |bits, (_, access)| bits | access);
        }
        Ok(list)
    }

    /// What the kernel shows: `a *:* rwm`, or one line for each exception.
    fn shown(text: &str) -> Self {
        let number = |text: &str| text.parse().ok();
        let read = |line: &str| {
            let mut words = line.split([' ', ':']);
            let letter = words.next()?.chars().next()?;
            let (major, minor) = (number(words.next()?), number(words.next()?));
            Some((Devices { letter, major, minor }, accesses(words.next()?)))
        };
        let allow = text.lines().any(|line| line.starts_with('a'));
        let exceptions = if allow { BTreeMap::new() } else { text.lines().filter_map(read).collect() };
        Self { allow, exceptions }
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<()> {
        let access = accesses(rule.access().as_deref().unwrap_or("rwm"));
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let (major, minor) = (number(rule.major()), number(rule.minor()));
        let Some(kind) = kind(rule) else { return Ok(()) };
        if kind.is_none() && major.is_none() && minor.is_none() && access == EVERY_ACCESS {
            *self = Self { allow: rule.allow(), exceptions: BTreeMap::new() };
            return Ok(());
        }
        for letter in ['b', 'c']
            .into_iter()
            .filter(|letter| kind.is_none_or(|kind| (kind == super::BPF_BLOCK) == (*letter == 'b')))
        {
            let devices = Devices { letter, major, minor };
            if rule.allow() == self.allow {
                self.forget(devices, access)?;
            } else {
                *self.exceptions.entry(devices).or_default() |= access;
            }
        }
        Ok(())
    }

    fn forget(&mut self, devices: Devices, access: i32) -> Result<()> {
        for (known, granted) in &mut self.exceptions {
            if devices.cover(known) {
                *granted &= !access;
            } else if devices.meet(known) && *granted & access != 0 {
                let (rule, known) = (line(devices, access), line(*known, *granted));
                let reason = format!("cgroup v1 cannot cut it out of `{known}`; name the devices that remain");
                return Err(Error::unsupported(format!("device rule `{rule}` cannot be set: {reason}")));
            }
        }
        self.exceptions.retain(|_, granted| *granted != 0);
        Ok(())
    }

    fn lines(&self) -> Vec<Line> {
        let (first, rest) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let exceptions = self.exceptions.iter().map(|(devices, access)| (rest, line(*devices, *access)));
        std::iter::once((first, "a".to_owned())).chain(exceptions).collect()
    }
}

impl Devices {
    /// Whether every device of the other is among these.
    fn cover(&self, other: &Self) -> bool {
        let wide = |one: Option<u32>, other: Option<u32>| one.is_none() || one == other;
        self.letter == other.letter && wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    /// Whether any device is among both.
    fn meet(&self, other: &Self) -> bool {
        let same = |one: Option<u32>, other: Option<u32>| one.is_none() || other.is_none() || one == other;
        self.letter == other.letter && same(self.major, other.major) && same(self.minor, other.minor)
    }
}

fn letters(access: i32) -> String {
    [(2, 'r'), (4, 'w'), (1, 'm')].iter().filter(|(bit, _)| access & bit != 0).map(|(_, letter)| letter).collect()
}

fn line(devices: Devices, access: i32) -> String {
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    format!("{} {}:{} {}", devices.letter, number(devices.major), number(devices.minor), letters(access))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{DEFAULT, rules};
    use super::*;

    fn text(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|(name, line)| format!("{} {line}", name.trim_start_matches("devices."))).collect()
    }

    #[test]
    fn rules_become_a_list() {
        let lines = v1_lines(&rules(DEFAULT)).unwrap();
        assert_eq!(text(&lines), ["deny a", "allow c *:* m", "allow c 1:3 rm"]);
        assert!(v1_lines(&[]).unwrap().is_empty());
        let reading = v1_lines(&rules(r#"[{"allow":true,"access":"r"}]"#)).unwrap();
        assert_eq!(text(&reading), ["deny a", "allow b *:* r", "allow c *:* r"]);
        let open = v1_lines(&rules(r#"[{"allow":true},{"allow":false,"type":"b","major":8,"access":"w"}]"#)).unwrap();
        assert_eq!(text(&open), ["allow a", "deny b 8:* w"]);
    }

    #[test]
    fn what_the_kernel_would_not_do_is_refused() {
        let hole = r#"[{"allow":false},{"allow":true,"type":"c","major":1,"access":"rw"},
            {"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#;
        let message = v1_lines(&rules(hole)).unwrap_err().to_string();
        assert!(
            message.starts_with("device rule `c 1:3 w` cannot be set: cgroup v1 cannot cut it out of `c 1:* rw`"),
            "{message}"
        );
        // Another access, another device, or all of it: nothing is cut.
        for fine in [
            r#"{"allow":false,"type":"c","major":1,"minor":3,"access":"m"}"#,
            r#"{"allow":false,"type":"c","major":2,"minor":3,"access":"w"}"#,
            r#"{"allow":false,"type":"c","major":1,"access":"w"}"#,
        ] {
            assert!(
                v1_lines(&rules(&format!(r#"[{{"allow":true,"type":"c","major":1,"access":"rw"}},{fine}]"#))).is_ok()
            );
        }
    }

    #[test]
    fn a_change_writes_the_difference() {
        let wanted = rules(
            r#"[{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
            {"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]"#,
        );
        let change = changes("c 1:3 rwm\nb 8:* r\n", &wanted).unwrap();
        assert_eq!(text(&change.lines), ["allow c 1:5 r", "deny b 8:* r", "deny c 1:3 m"]);
        assert!(!change.opens);
        let closing = changes("a *:* rwm\n", &wanted).unwrap();
        assert_eq!(text(&closing.lines), ["deny a", "allow c 1:3 rw", "allow c 1:5 r"]);
        assert!(!closing.opens);
        let opening = rules(r#"[{"allow":true},{"allow":false,"type":"b","access":"w"}]"#);
        assert!(changes("c 1:3 rwm\n", &opening).unwrap().opens);
        assert!(!changes("c 1:3 rwm\n", &rules(r#"[{"allow":true}]"#)).unwrap().opens);
        assert!(changes("c 1:3 rw\nc 1:5 r\n", &wanted).unwrap().lines.is_empty());
    }
}

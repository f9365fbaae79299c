//! Who a process inside a container runs as, from the texts of the container's passwd and group files.
//!
//! The forms are Docker's: nothing (root), `name`, `number`, and either with `:group`, a name or a number.
//!
//! | form | uid | gid | supplementary groups |
//! |---|---|---|---|
//! | `name` | its passwd entry's | its entry's | the groups that list the name |
//! | `number` with an entry | the number | its entry's | the groups that list the entry's name |
//! | `number` without | the number | 0 | none |
//! | `...:group` | as above | that group's | none |
//!
//! The primary group is always the first of the supplementary ones: a file that denies a group something denies it to its
//! members, whichever way they are members. A word of digits is a number, never a name, even if it is too large for one: an
//! image could else give any name to a number that looks harmless. The files are an image's: any text is survived, lines that
//! are no entries are passed over, and sizes are bounded. The system's own lookups (NSS) are never asked, since they would
//! answer for the host, or load the container's libraries.

use failure::{Error, Result};

/// The largest id: what fits a signed 32-bit number. The kernel's ids go further, but no tool agrees on those.
const LARGEST_ID: u32 = i32::MAX as u32;
/// Files larger than this are refused, not read in part: a cut entry could be another's.
const LARGEST_FILE: usize = 16 << 20;
/// The kernel's limit of supplementary groups.
const MOST_GROUPS: usize = 65_536;

/// A user as the kernel takes it, and its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user id inside the container.
    pub uid: u32,
    /// The primary group id inside the container.
    pub gid: u32,
    /// The supplementary group ids, the primary one first, without duplicates.
    pub additional_gids: Vec<u32>,
    /// The home directory that passwd names, or `/`.
    pub home: String,
}

/// Finds who `user` means in the texts of a container's passwd and group files, with the groups of `--group-add`.
///
/// # Errors
/// A name is not in the files, a number is out of range, or a file is too large.
pub fn resolve(user: &str, passwd: &[u8], group: &[u8], extra_groups: &[String]) -> Result<User> {
    for (name, text) in [("passwd", passwd), ("group", group)] {
        if text.len() > LARGEST_FILE {
            return Err(Error::invalid(format!(
                "the image's `/etc/{name}` is larger than 16 MiB; give ids as numbers"
            )));
        }
    }
    let (user_word, group_word) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let (uid, account) = find_account(if user_word.is_empty() { "0" } else { user_word }, passwd)?;
    let group_word = group_word.filter(|word| !word.is_empty());
    let gid = match (group_word, &account) {
        (Some(word), _) => find_group(word, group)?,
        (None, Some(account)) => account.gid,
        (None, None) => 0,
    };
    let mut additional_gids = vec![gid];
    if let (None, Some(account)) = (group_word, &account) {
        additional_gids.extend(groups(group).filter(|group| group.has(account.name)).map(|group| group.gid));
    }
    for word in extra_groups {
        additional_gids.push(find_group(word, group)?);
    }
    let additional_gids = without_duplicates(additional_gids);
    if additional_gids.len() > MOST_GROUPS {
        return Err(Error::invalid(format!(
            "user `{user}` is in more than {MOST_GROUPS} groups; name one as `user:group`"
        )));
    }
    let home = account.and_then(|account| (!account.home.is_empty()).then(|| lossy(account.home)));
    Ok(User { uid, gid, additional_gids, home: home.unwrap_or_else(|| "/".to_owned()) })
}

/// An entry of passwd.
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// An entry of group.
struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
}

impl Group<'_> {
    fn has(&self, name: &[u8]) -> bool {
        self.members.split(|byte| *byte == b',').any(|member| member.trim_ascii() == name)
    }
}

fn find_account<'a>(word: &str, passwd: &'a [u8]) -> Result<(u32, Option<Account<'a>>)> {
    if let Some(uid) = number("user", word)? {
        return Ok((uid, accounts(passwd).find(|account| account.uid == uid)));
    }
    match accounts(passwd).find(|account| account.name == word.as_bytes()) {
        Some(account) => Ok((account.uid, Some(account))),
        None => Err(unknown("user", word, "passwd")),
    }
}

fn find_group(word: &str, group: &[u8]) -> Result<u32> {
    match number("group", word)? {
        Some(gid) => Ok(gid),
        None => {
            let found = groups(group).find(|group| group.name == word.as_bytes());
            found.map(|group| group.gid).ok_or_else(|| unknown("group", word, "group"))
        }
    }
}

fn unknown(what: &str, word: &str, file: &str) -> Error {
    let word: String = word.chars().take(256).flat_map(char::escape_debug).collect();
    Error::invalid(format!(
        "unknown {what} `{word}`: the image's `/etc/{file}` does not have it; give a name that it has, or a number"
    ))
}

/// The number that a word of digits means; `None` if the word is a name.
fn number(what: &str, word: &str) -> Result<Option<u32>> {
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse() {
        Ok(id) if id <= LARGEST_ID => Ok(Some(id)),
        _ => {
            let start = word.get(..32).unwrap_or(word);
            Err(Error::invalid(format!("{what} id `{start}` is out of range: it must be at most {LARGEST_ID}")))
        }
    }
}

/// `name:password:uid:gid:comment:home:shell`; lines that are not of this form are passed over.
fn accounts(text: &[u8]) -> impl Iterator<Item = Account<'_>> {
    lines(text).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let (uid, gid) = (id(fields.nth(1)?)?, id(fields.next()?)?);
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

/// `name:password:gid:member,member`; lines that are not of this form are passed over.
fn groups(text: &[u8]) -> impl Iterator<Item = Group<'_>> {
    lines(text).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = id(fields.nth(1)?)?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii)
}

fn id(field: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(field).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|id| *id <= LARGEST_ID)
}

/// Keeps the first of each, in order; not by comparing all with all, since an image decides how many there are.
fn without_duplicates(gids: Vec<u32>) -> Vec<u32> {
    let mut seen = std::collections::HashSet::with_capacity(gids.len());
    gids.into_iter().filter(|gid| seen.insert(*gid)).collect()
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # comment\n\
        broken:x:notanumber:5::/broken:\n\
        daemon:x:2:2::/sbin:\n\
        www:x:33:33:www,,,:/var/www:/bin/false\n\
        7:x:1000:1000::/home/seven:\n\
        huge:x:4294967296:0::/huge:\n\
        bare:x:40:41\n";
    const GROUP: &[u8] = b"root:x:0:\ndaemon:x:2:www,root\nwww:x:33:\naudio:x:29:www, daemon\nbad:x:-1:www\n100:x:5:\nwheel:x:10:root,root\n";

    fn found(user: &str, extra: &[&str]) -> Result<User> {
        let extra: Vec<String> = extra.iter().map(|&word| word.to_owned()).collect();
        resolve(user, PASSWD, GROUP, &extra)
    }

    fn ids(user: &str, extra: &[&str]) -> (u32, u32, Vec<u32>, String) {
        let user = found(user, extra).unwrap();
        (user.uid, user.gid, user.additional_gids, user.home)
    }

    #[test]
    fn the_forms_of_a_user() {
        assert_eq!(ids("", &[]), (0, 0, vec![0, 2, 10], "/root".into()));
        assert_eq!(ids("0", &[]), ids("root", &[]));
        assert_eq!(ids("www", &[]), (33, 33, vec![33, 2, 29], "/var/www".into()));
        assert_eq!(ids("33", &[]), ids("www", &[]));
        assert_eq!(ids("www:audio", &[]), (33, 29, vec![29], "/var/www".into()));
        assert_eq!(ids("www:", &[]), ids("www", &[]));
        assert_eq!(ids(":audio", &[]), (0, 29, vec![29], "/root".into()));
        assert_eq!(ids("5000:6000", &[]), (5000, 6000, vec![6000], "/".into()));
        assert_eq!(ids("5000", &[]), (5000, 0, vec![0], "/".into()));
        assert_eq!(ids("bare", &[]), (40, 41, vec![41], "/".into()));
    }

    #[test]
    fn added_groups_are_names_or_numbers() {
        assert_eq!(ids("www:www", &["audio", "77", "29"]).2, [33, 29, 77]);
        assert!(found("www", &["nobody-knows"]).unwrap_err().to_string().contains("unknown group `nobody-knows`"));
    }

    #[test]
    fn digits_are_never_a_name() {
        assert_eq!(ids("7", &[]).0, 7);
        assert_eq!(ids("5000:100", &[]).1, 100);
        for out in ["2147483648", "4294967295", "4294967296", "18446744073709551616", &"9".repeat(400)] {
            for form in [out.to_owned(), format!("0:{out}")] {
                let message = found(&form, &[]).unwrap_err().to_string();
                assert!(message.contains("out of range") && message.len() < 200, "{message}");
            }
        }
        assert_eq!(ids("2147483647", &[]).0, 2_147_483_647);
    }

    #[test]
    fn what_is_no_entry_is_no_user() {
        for name in ["broken", "huge", "bad", "# comment", "www:bad", "root:nope", "-1", "+1", "a:b:c", "ro\not"] {
            let message = found(name, &[]).unwrap_err().to_string();
            assert!(message.starts_with("unknown ") && !message.contains('\n'), "{message}");
        }
        assert_eq!(resolve("", b"", b"", &[]).unwrap().home, "/");
        assert!(resolve("", &vec![b'\n'; LARGEST_FILE + 1], b"", &[]).is_err());
    }

    #[test]
    fn a_member_of_very_many_groups_is_refused_quickly() {
        let group: String = (0..=MOST_GROUPS).map(|gid| format!("g{gid}:x:{}:root\n", gid + 1)).collect();
        assert!(resolve("root", PASSWD, group.as_bytes(), &[]).unwrap_err().to_string().contains("more than"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(user in ".{0,20}", passwd in proptest::collection::vec(any::<u8>(), 0..300),
            group in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(user) = resolve(&user, &passwd, &group, &[]) {
                prop_assert!(user.uid <= LARGEST_ID && user.gid <= LARGEST_ID);
                prop_assert_eq!(user.additional_gids.first(), Some(&user.gid));
            }
        }

        #[test]
        fn entry_like_lines_are_survived(passwd in "([a-c0-9:,-]{0,12}\n){0,20}", group in "([a-c0-9:,-]{0,12}\n){0,20}",
            user in "[a-c0-9:]{0,6}") {
            if let Ok(user) = resolve(&user, passwd.as_bytes(), group.as_bytes(), &[]) {
                prop_assert!(user.additional_gids.iter().all(|gid| *gid <= LARGEST_ID));
            }
        }

        #[test]
        fn a_number_is_itself_whatever_the_files_say(uid in 0..=LARGEST_ID, gid in 0..=LARGEST_ID, other in 0..=LARGEST_ID) {
            let passwd = format!("{uid}:x:{other}:{other}::/trap:\n");
            let group = format!("{gid}:x:{other}:\n");
            let user = resolve(&format!("{uid}:{gid}"), passwd.as_bytes(), group.as_bytes(), &[]).unwrap();
            prop_assert_eq!((user.uid, user.gid), (uid, gid));
        }

        #[test]
        fn a_written_entry_is_found(name in "[a-z_][a-z0-9_-]{0,30}", uid in 0..=LARGEST_ID, gid in 0..=LARGEST_ID,
            home in "(/[a-z]{1,8}){1,4}") {
            let passwd = format!("{name}x:x:1:1::/:\n{name}:x:{uid}:{gid}::{home}:/bin/sh\n{name}:x:9:9::/second:\n");
            let user = resolve(&name, passwd.as_bytes(), b"", &[]).unwrap();
            prop_assert_eq!((user.uid, user.gid, user.home), (uid, gid, home));
        }
    }
}

use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A directory with a `config.json` for one test.
struct Home(PathBuf);

impl Home {
    fn new(test: &str, config: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skep-accounts-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        if !config.is_empty() {
            fs::write(path.join("config.json"), config).unwrap();
        }
        Self(path)
    }

    /// A helper that keeps accounts in a directory, one file for each server.
    fn with_helper(self) -> Self {
        let program = self.0.join("docker-credential-files");
        let kept = self.0.join("kept");
        fs::create_dir(&kept).unwrap();
        let script = format!(
            "#!/bin/sh\ncd '{}'\ncase $1 in\nstore) cat > new; mv new \"$(sed 's/.*\"ServerURL\":\"\\([^\"]*\\)\".*/\\1/' new \
             | tr / _)\";;\nget) cat \"$(tr / _)\" 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};;\n\
             erase) rm \"$(tr / _)\" 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};;\nesac\n",
            kept.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn accounts(&self) -> Accounts {
        let path = format!("{}:/usr/bin:/bin", self.0.display());
        Accounts { files: vec![self.0.join("config.json"), self.0.join("auth.json")], path: path.into() }
    }

    fn config(&self) -> String {
        fs::read_to_string(self.0.join("config.json")).unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn me(password: &str) -> Credentials {
    Credentials::Password { user: "me".into(), password: password.into() }
}

#[test]
fn an_account_is_stored_found_and_erased() {
    let home = Home::new("plain", "");
    let accounts = Accounts { files: vec![home.0.join("new/config.json")], ..home.accounts() };
    let file = &accounts.files[0];
    assert!(!accounts.erase("a.net").unwrap());
    assert_eq!(accounts.store("a.net", &me("hunter2")).unwrap(), Kept::Plain(file.clone()));
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        "{\n\t\"auths\": {\n\t\t\"a.net\": {\n\t\t\t\"auth\": \"bWU6aHVudGVyMg==\"\n\t\t}\n\t}\n}"
    );
    assert_eq!(accounts.find("a.net", "x").unwrap(), Some(me("hunter2")));
    assert_eq!(accounts.find("b.net", "x").unwrap(), None);
    assert!(accounts.erase("a.net").unwrap());
    assert_eq!(accounts.find("a.net", "x").unwrap(), None);
    let names: Vec<_> = fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn what_is_not_understood_is_kept() {
    let before = r#"{"zoo":[1,{"b":2,"a":1}],"auths":{"https://index.docker.io/v1/":{"auth":"eDp5","email":"e"},"o.net":{"auth":"eDp5","x":1}},"HttpHeaders":{"a":"b"}}"#;
    let home = Home::new("unknown", before);
    home.accounts().store("docker.io", &me("p")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&home.config()).unwrap();
    let after = before.replace(r#"{"auth":"eDp5","email":"e"}"#, r#"{"auth":"bWU6cA=="}"#);
    assert_eq!(value.to_string(), after);
    assert!(home.accounts().erase("registry-1.docker.io").unwrap());
    let value: serde_json::Value = serde_json::from_str(&home.config()).unwrap();
    assert_eq!(value["auths"].to_string(), r#"{"o.net":{"auth":"eDp5","x":1}}"#);
}

#[test]
fn a_helper_keeps_what_the_file_must_not() {
    let home = Home::new("helper", r#"{"credsStore":"files"}"#).with_helper();
    let accounts = home.accounts();
    assert_eq!(accounts.store("docker.io", &me("hunter2")).unwrap(), Kept::Helper("files".into()));
    assert!(!home.config().contains("auth\""), "{}", home.config());
    let kept = fs::read_to_string(home.0.join("kept/https:__index.docker.io_v1_")).unwrap();
    assert_eq!(kept, r#"{"ServerURL":"https://index.docker.io/v1/","Username":"me","Secret":"hunter2"}"#);
    assert_eq!(accounts.find("registry-1.docker.io", "library/x").unwrap(), Some(me("hunter2")));
    assert_eq!(accounts.find("a.net", "x").unwrap(), None);
    assert!(accounts.erase("docker.io").unwrap());
    assert_eq!(accounts.find("docker.io", "library/x").unwrap(), None);
    assert!(!accounts.erase("docker.io").unwrap());
}

#[test]
fn the_first_file_that_knows_decides() {
    let home = Home::new("files", r#"{"auths":{"a.net":{"auth":"bWU6MQ=="}}}"#);
    let podman =
        r#"{"auths":{"a.net":{"auth":"bWU6Mg=="},"a.net/team":{"auth":"bWU6Mw=="},"b.net/team":{"auth":"bWU6NA=="}}}"#;
    fs::write(home.0.join("auth.json"), podman).unwrap();
    let find = |host, repository| home.accounts().find(host, repository).unwrap();
    assert_eq!(find("a.net", "team/x"), Some(me("1")));
    assert_eq!(find("b.net", "team/x"), Some(me("4")));
    assert_eq!(find("b.net", "other"), None);
}

#[test]
fn a_link_stays_one_and_a_damaged_file_is_left_alone() {
    let home = Home::new("link", "");
    fs::write(home.0.join("real.json"), "{}").unwrap();
    std::os::unix::fs::symlink("real.json", home.0.join("config.json")).unwrap();
    home.accounts().store("a.net", &me("1")).unwrap();
    assert!(home.0.join("config.json").is_symlink());
    assert_eq!(home.accounts().find("a.net", "x").unwrap(), Some(me("1")));

    let home = Home::new("damaged", "{\"auths\": [\"hunter2\"]}");
    for error in [home.accounts().store("a.net", &me("1")).unwrap_err(), home.accounts().find("a.net", "").unwrap_err()]
    {
        assert!(error.to_string().contains("config.json") && !error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(home.config(), "{\"auths\": [\"hunter2\"]}");
}

#[test]
fn nothing_is_shown_of_a_damaged_account() {
    let home = Home::new("shown", r#"{"auths":{"a.net":{"auth":"hunter2!"}}}"#);
    let error = home.accounts().find("a.net", "x").unwrap_err().to_string();
    assert!(
        error.ends_with("config.json`: the account for `a.net` is not base64; repeat `skep login a.net`"),
        "{error}"
    );
    let file = Path::new("/nonexistent/config.json");
    let nowhere = Accounts { files: vec![file.into()], path: OsString::new() };
    assert_eq!(nowhere.find("a.net", "x").unwrap(), None);
    assert!(Accounts::default().store("a.net", &me("1")).unwrap_err().to_string().starts_with("there is no place"));
}

//! What an image runs on: `linux/amd64`, `linux/arm64`, `linux/arm/v7`.
//!
//! Written as in Docker's `--platform`, read with the names that other tools use (`x86_64`, `aarch64`, `armhf`), compared
//! in Go's words. `arm64` without a variant is `arm64/v8`, `arm` is `arm/v7`, `amd64` is `amd64/v1`.

use std::fmt;
use std::str::FromStr;

use failure::{Error, Result};

/// An operating system, an architecture, and which kind of that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn of_this_machine() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// From the fields of an image's document, which may be empty.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" => ("amd64", None),
            "aarch64" => ("arm64", None),
            "x86" | "i386" | "i486" | "i586" | "i686" => ("386", None),
            "armhf" => ("arm", Some("v7")),
            "armel" => ("arm", Some("v6")),
            other => (other, None),
        };
        let variant = variant.filter(|variant| !variant.is_empty()).or(implied);
        // What the name alone means already.
        let variant = variant.filter(|variant| usual_variant(architecture) != Some(variant));
        Self { os, architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Reads `os/architecture[/variant]`, or one of the first two alone.
    ///
    /// # Errors
    /// Something else.
    pub fn parse(text: &str) -> Result<Self> {
        let good = |part: &&str| {
            let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !part.is_empty() && part.len() <= 64 && part.bytes().all(letters)
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts.iter().all(good).then_some(&parts[..]) {
            Some([one]) if matches!(*one, "linux" | "windows" | "darwin" | "freebsd") => {
                Ok(Self::new(one, std::env::consts::ARCH, None))
            }
            Some([architecture]) => Ok(Self::new("linux", architecture, None)),
            Some([os, architecture]) => Ok(Self::new(os, architecture, None)),
            Some([os, architecture, variant]) => Ok(Self::new(os, architecture, Some(variant))),
            _ => {
                let shown = text.chars().take(80).collect::<String>();
                let shown = shown.escape_debug();
                Err(Error::invalid(format!(
                    "`{shown}` is not a platform; write OS/ARCHITECTURE[/VARIANT]: linux/arm64"
                )))
            }
        }
    }

    /// `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// In Go's words: `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// `v6`, where it is not the usual one.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// Whether it says what it is: attestations beside images have the platform `unknown/unknown`.
    pub fn is_known(&self) -> bool {
        !matches!(self.os.as_str(), "" | "unknown") && !matches!(self.architecture.as_str(), "" | "unknown")
    }
}

fn usual_variant(architecture: &str) -> Option<&'static str> {
    match architecture {
        "amd64" => Some("v1"),
        "arm64" => Some("v8"),
        "arm" => Some("v7"),
        _ => None,
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(formatter, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_read_as_docker_reads_it() {
        let same = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm"),
            ("Linux/AARCH64", "linux/arm64"),
        ];
        for (text, shown) in same {
            assert_eq!(Platform::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in ["", "/", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
        assert!(!Platform::new("unknown", "unknown", None).is_known());
    }
}

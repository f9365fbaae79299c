//! Dockerfile-style changes to a configuration: `--change 'CMD ["sh"]'` of import and commit.

use failure::Result;

use crate::ConfigDocument;

/// One change, read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {}

impl Change {
    /// Reads one instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR, STOPSIGNAL, ONBUILD, HEALTHCHECK.
    ///
    /// # Errors
    /// It is not one of these, or its arguments are wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let _ = text;
        unimplemented!()
    }

    /// Changes the configuration.
    pub fn apply(&self, document: &mut ConfigDocument) {
        let _ = document;
        unimplemented!()
    }
}

/// Splits a line into words as a Dockerfile does: blanks separate, quotes and backslashes keep.
///
/// # Errors
/// A quote is not closed.
pub fn split_words(text: &str) -> Result<Vec<String>> {
    let _ = text;
    unimplemented!()
}

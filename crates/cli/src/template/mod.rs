//! `--format`: the part of Go's text/template that people use with Docker, over JSON values.
//!
//! ```text
//!   text ──lexer──▶ tokens ──parser──▶ Vec<Node> ──evaluate──▶ text
//!
//!   {{.State.Pid}}  {{json .Config}}  {{index .Labels "a.b"}}  {{len .Mounts}}  {{join .Args " "}}  {{upper .Name}}
//!   {{range $i, $m := .Mounts}}..{{else}}..{{end}}  {{if eq .State.Status "running"}}..{{else if ..}}..{{end}}
//!   {{with .X}}..{{end}}  {{$x := .Name}}  {{.Names | lower}}  {{printf "%-10s" .ID}}  {{.Label "com.x"}}  {{- trim -}}
//! ```
//! A field that does not exist is an error, as in Docker; only as the condition of `if`, `with`, `range`, `and`, `or`
//! and `not` it counts as empty, because the objects here leave out what Docker shows as null.

mod evaluate;
mod functions;
mod lexer;
mod optional;
mod parser;
mod print;

use failure::{Error, Result};
use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<parser::Node>,
}

/// What a field with arguments means: `{{.Label "x"}}` asks for method `Label` with one argument.
pub(crate) type Methods<'a> = dyn Fn(&str, &[Value]) -> Option<Value> + 'a;

impl Template {
    /// Parses the text of a template.
    ///
    /// # Errors
    /// One line in the words of Go's parser.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let nodes = lexer::tokens(text)
            .and_then(|tokens| parser::parse(&tokens))
            .map_err(|reason| Error::invalid(format!("template parsing error in `{text}`: {reason}")))?;
        Ok(Self { nodes })
    }

    /// The template filled in with one value.
    ///
    /// # Errors
    /// One line: a missing field, a function on a value it cannot take.
    pub(crate) fn render(&self, data: &Value) -> Result<String> {
        self.render_with(data, &|_, _| None)
    }

    /// As [`Template::render`], for a row that has methods too.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub(crate) fn render_with(&self, data: &Value, methods: &Methods<'_>) -> Result<String> {
        evaluate::render(&self.nodes, data, methods)
            .map_err(|reason| Error::invalid(format!("template error: {reason}")))
    }

    /// Whether it shows a whole object somewhere (`{{json .}}`), so that all fields are needed.
    pub(crate) fn shows_all(&self) -> bool {
        parser::shows_all(&self.nodes)
    }

    /// The names of the top-level fields that plain actions show, in order: the headings of `table ...`.
    pub(crate) fn headings(&self, heading: &dyn Fn(&str) -> String) -> String {
        parser::headings(&self.nodes, heading)
    }
}

#[cfg(test)]
mod tests;

//! What the trials of registries stand on.

pub(crate) mod cutter;
pub(crate) mod http;
pub(crate) mod liar;
pub(crate) mod orchard;
pub(crate) mod registry;
pub(crate) mod scene;
pub(crate) mod token;
pub(crate) mod tools;
pub(crate) mod tree;

//! What the cloned child does: walk a plan, report, exec. No allocation, no locks, no unwinding.
//!
//! ```text
//! runtime::Plan --borrowed as--> [Step] --walk--> execve
//!                                   |
//!                                   +-- on failure: (index of the step, errno) to the parent, which still has the plan
//! ```
//! The crate is `no_std` without `alloc`, which makes the rule a fact of the build: a process that was cloned from one with
//! a heap may not touch that heap. Strings are borrowed from the parent's memory, of which the child has a copy.
//!
//! Where the host ends is one step, [`Step::EnterRoot`]: before it only the host's own paths are used, and after it the
//! host's tree is gone, so that no path of the container can lead there. Paths inside the container are resolved by
//! [`inside`] alone, from a descriptor of the root. With hooks that must see both trees the order is another
//! ([`Step::AttachRoot`] ... [`Step::EnterAttachedRoot`]), and those descriptors alone are the wall meanwhile.
#![no_std]

pub mod channel;
mod copy_up;
mod credentials;
mod hook;
mod inside;
mod join;
mod masks;
mod mounts;
mod nodes;
mod program;
mod reaper;
pub mod step;
mod supervised;
mod terminal;
mod time;
mod walk;

pub use hook::FAILED_HOOK;
pub use join::{Enter, JOINING, Join, Namespace, enter, join};
pub use step::Step;
pub use walk::run;

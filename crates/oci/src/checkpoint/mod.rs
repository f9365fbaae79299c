//! `checkpoint` and `restore`: a running container frozen into files, and made again from them, by CRIU.
//!
//! ```text
//!   checkpoint   config.json, /proc/PID  --> what is not the container's own (mounts, streams, namespaces): `external`
//!                criu: dump              --> <image-path>/*.img, descriptors.json; the container is removed, or left running
//!   restore      bundle, --flags         --> the same list with the host's sides, a control group, a private view of mounts
//!                criu: restore           --> processes, stopped --verify--> resumed --> state.json
//! ```
//! The files of a checkpoint are somebody's input. Nothing is read from them here but three keys of streams; what the
//! container is to be comes from the bundle. What CRIU makes of the files is compared with the bundle while all processes
//! stand still (crate::checkpoint::verify), and ended if it is more than the bundle allows.
//! CRIU is spoken to over a socket (crate::checkpoint::service) rather than by flags: only so does it hand over a terminal,
//! make the process our child, and wait for our word before the processes run.

mod descriptors;
mod dump;
mod external;
mod image;
mod message;
mod options;
mod restore;
mod service;
mod stage;
mod verify;

pub(crate) use dump::COMMAND as CHECKPOINT;
pub(crate) use restore::COMMAND as RESTORE;

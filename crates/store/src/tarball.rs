//! Writing tar archives of directory trees.

//! writable

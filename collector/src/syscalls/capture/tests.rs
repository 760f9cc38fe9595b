//! Records, as the kernel programs write them, to rows.

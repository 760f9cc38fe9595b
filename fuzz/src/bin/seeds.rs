//! Writes seeds for libFuzzer: `seeds FOLDER` makes one folder a target in it.
//!
//! It calls nothing of the project's own, whose code is built with libFuzzer's marks
//! while the targets are, and cannot be linked without it.

use std::path::Path;
use std::{env, fs, io};

#[path = "../seeds.rs"]
mod seeds;

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1);
    let folder = folder.ok_or_else(|| io::Error::other("which folder? seeds FOLDER"))?;
    for target in seeds::TARGETS {
        let folder = Path::new(&folder).join(target.0);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds::of(target).iter().enumerate() {
            fs::write(folder.join(format!("{number:05}")), seed)?;
        }
    }
    Ok(())
}

//! Which files are worth merging: pure.
//!
//! Files of one partition are looked at from the smallest up. A file joins the
//! group while it is at most [`GROWTH`] times as large as the group so far, so
//! that a large file is rewritten only once enough has come to make it
//! noticeably larger. What is near the target size is never rewritten. So a row
//! is rewritten a handful of times in its life, and a day that is over ends up
//! with files of the target size and a few smaller ones, each of them more than
//! [`GROWTH`] times larger than all smaller ones together.

use std::collections::BTreeMap;

use bailiwick_lake::DataFile;
use bailiwick_proto::TenantId;
use chrono::NaiveDate;

/// By what factor a file may be larger than the group that it joins.
const GROWTH: u64 = 4;

/// What decides.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The size to reach.
    pub target_bytes: u64,
    /// How many files of a day that is not over make a group.
    pub merge_at_files: usize,
    /// The day that is not over, as are those after it.
    pub today: NaiveDate,
}

/// Files of one partition that become one, or a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The smallest first; at least two.
    pub files: Vec<DataFile>,
}

// === impl Policy ===

impl Policy {
    /// What to merge now, the group with the most files first.
    pub fn groups(&self, files: &[DataFile]) -> Vec<Group> {
        let mut partitions: BTreeMap<(&TenantId, NaiveDate), Vec<&DataFile>> = BTreeMap::new();
        for file in files.iter().filter(|file| !self.is_full(file)) {
            partitions.entry((&file.tenant, file.date)).or_default().push(file);
        }
        let mut groups: Vec<Group> =
            partitions.into_iter().filter_map(|((_, date), files)| self.group(files, date)).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.files.len()));
        groups
    }

    /// Into how many files a group is merged: all of one size, so that none is
    /// a small rest.
    pub fn outputs(&self, group: &Group) -> u64 {
        ((group.bytes() + self.target_bytes / 2) / self.target_bytes).max(1)
    }

    fn is_full(&self, file: &DataFile) -> bool {
        file.size_bytes >= self.target_bytes - self.target_bytes / 4
    }

    fn group(&self, mut files: Vec<&DataFile>, date: NaiveDate) -> Option<Group> {
        files.sort_by(|a, b| (a.size_bytes, &a.path).cmp(&(b.size_bytes, &b.path)));
        let least = if date < self.today { 2 } else { self.merge_at_files.max(2) };
        let (mut group, mut bytes) = (Vec::new(), 0u64);
        for file in files {
            let joins = group.is_empty() || file.size_bytes <= bytes.saturating_mul(GROWTH);
            if !joins && group.len() < least {
                // Too few small ones; a larger file may begin a group of its own.
                group.clear();
                bytes = 0;
            } else if !joins {
                break;
            }
            group.push(file.clone());
            bytes += file.size_bytes;
            if bytes >= self.target_bytes {
                break;
            }
        }
        (group.len() >= least).then_some(Group { files: group })
    }
}

// === impl Group ===

impl Group {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Rows of all its files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MB: u64 = 1 << 20;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 11, day).unwrap()
    }

    fn policy() -> Policy {
        Policy { target_bytes: 256 * MB, merge_at_files: 8, today: day(25) }
    }

    fn file(name: &str, size_bytes: u64, date: NaiveDate) -> DataFile {
        DataFile {
            path: format!("tables/losses/tenant=a/date={date}/{name}.parquet"),
            size_bytes,
            rows: size_bytes / 16,
            tenant: "a".parse().unwrap(),
            date,
            min_time_us: None,
            max_time_us: None,
            modified_ms: 0,
            null_times: 0,
        }
    }

    fn files(sizes: &[u64], date: NaiveDate) -> Vec<DataFile> {
        sizes.iter().enumerate().map(|(index, size)| file(&format!("{index:04}"), *size, date)).collect()
    }

    fn sizes(groups: &[Group]) -> Vec<Vec<u64>> {
        groups.iter().map(|group| group.files.iter().map(|file| file.size_bytes / MB).collect()).collect()
    }

    #[test]
    fn small_files_of_a_day_that_is_over_are_merged_and_large_ones_wait() {
        let found = policy().groups(&files(&[MB, 2 * MB, 100 * MB, 200 * MB], day(24)));
        assert_eq!(sizes(&found), [[1, 2]]);
        let found = policy().groups(&files(&[MB, 100 * MB, 150 * MB], day(24)));
        assert_eq!(sizes(&found), [[100, 150]], "one small file waits, two large ones do not");
        assert_eq!(policy().groups(&files(&[MB, 100 * MB], day(24))), []);
    }

    #[test]
    fn todays_files_are_merged_when_they_are_many() {
        assert_eq!(policy().groups(&files(&[MB; 7], day(25))), []);
        assert_eq!(sizes(&policy().groups(&files(&[MB; 8], day(25)))), [[1; 8]]);
        assert_eq!(policy().groups(&files(&[MB; 7], day(26))), [], "a clock that runs ahead");
    }

    #[test]
    fn a_file_at_its_target_is_left_alone_and_a_group_ends_there() {
        assert_eq!(policy().groups(&files(&[200 * MB, 300 * MB], day(24))), []);
        assert_eq!(sizes(&policy().groups(&files(&[100 * MB; 5], day(24)))), [[100; 3]]);
        let outputs = |sizes: &[u64]| policy().outputs(&Group { files: files(sizes, day(24)) });
        assert_eq!((outputs(&[100 * MB; 3]), outputs(&[100 * MB; 5])), (1, 2));
    }

    proptest! {
        /// Whatever files there are: a group is of one partition, holds each of
        /// its files once and none at the target, and merging until nothing is
        /// left to merge ends, keeps every byte, and leaves few files.
        #[test]
        fn merging_ends_and_loses_nothing(
            found in prop::collection::vec((1u64..(300 * MB), 20u32..27), 0..80),
        ) {
            let mut files: Vec<DataFile> = found
                .iter()
                .enumerate()
                .map(|(index, (size, date))| file(&format!("{index}"), *size, day(*date)))
                .collect();
            let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
            for round in 0..200 {
                let groups = policy().groups(&files);
                prop_assert!(round < 199, "it does not end");
                let Some(group) = groups.first() else { break };
                prop_assert!(group.files.len() >= 2);
                let first = &group.files[0];
                for (index, merged) in group.files.iter().enumerate() {
                    prop_assert_eq!((&merged.tenant, merged.date), (&first.tenant, first.date));
                    prop_assert!(files.contains(merged) && !group.files[index + 1..].contains(merged));
                    prop_assert!(merged.size_bytes < 192 * MB);
                }
                let cut = group.bytes().div_ceil(policy().outputs(group));
                files.retain(|file| !group.files.contains(file));
                let (mut left, mut outputs) = (group.bytes(), 0);
                while left > 0 {
                    outputs += 1;
                    files.push(file(&format!("merged-{round}-{outputs}"), left.min(cut), first.date));
                    left -= left.min(cut);
                }
                prop_assert!(outputs < group.files.len());
            }
            prop_assert_eq!(files.iter().map(|file| file.size_bytes).sum::<u64>(), bytes);
            for date in 20..25 {
                let small = files.iter().filter(|file| file.date == day(date) && file.size_bytes < 192 * MB);
                prop_assert!(small.count() <= 14, "each is five times as large as those below it");
            }
        }
    }
}

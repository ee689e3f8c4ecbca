//! Values by key, and records parted by the hash of their key: the main job's own, without a limit.

/// Slots of a table that has something in it.
const SLOTS_MIN: usize = 256;

/// The key of an empty slot; the benchmark's keys start at 1.
const NO_KEY: i64 = i64::MIN;

/// Partitions, of about as many keys each: so many has the main job at scale 1 and 128 MiB.
const PARTITIONS: usize = 18;

/// Rows of a partition's chunk.
const CHUNK_ROWS: usize = 32_768;

/// What is known of each key: an open-addressing hash table.
pub(crate) struct Groups<V> {
    slots: Vec<(i64, V)>,
    used: usize,
}

impl<V: Copy + Default> Groups<V> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), used: 0 }
    }

    /// The value of `key`, which is there from now on.
    pub(crate) fn entry(&mut self, key: i64) -> &mut V {
        if 2 * (self.used + 1) > self.slots.len() {
            self.grow();
        }
        let slot = find(&mut self.slots, key);
        self.used += usize::from(slot.0 == NO_KEY);
        slot.0 = key;
        &mut slot.1
    }

    /// The value of `key`, if it is there.
    pub(crate) fn get_mut(&mut self, key: i64) -> Option<&mut V> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = find(&mut self.slots, key);
        (slot.0 == key).then_some(&mut slot.1)
    }

    /// Forgets all keys, and keeps the room for them.
    pub(crate) fn clear(&mut self) {
        self.slots.fill((NO_KEY, V::default()));
        self.used = 0;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, V)> {
        self.slots.iter().filter(|slot| slot.0 != NO_KEY).copied()
    }

    fn grow(&mut self) {
        let len = (2 * self.slots.len()).max(SLOTS_MIN);
        let mut slots = vec![(NO_KEY, V::default()); len];
        for slot in self.slots.iter().filter(|slot| slot.0 != NO_KEY) {
            *find(&mut slots, slot.0) = *slot;
        }
        self.slots = slots;
    }
}

/// The slot of `key`, or the empty one that it would take.
fn find<V>(slots: &mut [(i64, V)], key: i64) -> &mut (i64, V) {
    let mask = slots.len() - 1;
    let mut index = hash(key) as usize & mask;
    while slots[index].0 != key && slots[index].0 != NO_KEY {
        index = (index + 1) & mask;
    }
    &mut slots[index]
}

/// splitmix64's last steps.
fn hash(key: i64) -> u64 {
    let mut bits = key.cast_unsigned();
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Chunks of one partition.
pub(crate) type Partition<R> = Vec<Vec<R>>;

/// One thread's share of all partitions while they grow.
pub(crate) struct Partitioner<R> {
    partitions: Vec<(Partition<R>, Vec<R>)>,
}

impl<R> Partitioner<R> {
    pub(crate) fn new() -> Self {
        let none = || (Vec::new(), Vec::new());
        Self { partitions: std::iter::repeat_with(none).take(PARTITIONS).collect() }
    }

    /// Puts a record where its key belongs.
    pub(crate) fn add(&mut self, key: i64, record: R) {
        let high = u128::from(hash(key)) * PARTITIONS as u128;
        let (full, growing) = &mut self.partitions[(high >> 64) as usize];
        if growing.len() == growing.capacity() {
            let next = Vec::with_capacity(CHUNK_ROWS);
            full.push(std::mem::replace(growing, next));
        }
        growing.push(record);
    }

    /// The partitions of all threads in their order.
    pub(crate) fn finish(threads: Vec<Self>) -> Vec<Partition<R>> {
        let mut all: Vec<Partition<R>> =
            std::iter::repeat_with(Vec::new).take(PARTITIONS).collect();
        for partitioner in threads {
            for (all, (full, growing)) in all.iter_mut().zip(partitioner.partitions) {
                all.extend(full);
                all.push(growing);
            }
        }
        all
    }
}

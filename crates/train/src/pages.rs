//! Numbers that are met at random, on large pages where the system has them: with pages of 4 KiB nearly every row of a large
//! table costs a walk through the page table beside the miss of the cache, and in a virtual machine a walk is two.

use memmap2::MmapMut;

/// Fewer bytes than this stay where they are: most of them are in the cache anyway.
const FEW: usize = 4 << 20;

/// A fixed number of numbers.
#[derive(Debug)]
pub(crate) enum Numbers {
    Few(Vec<f32>),
    Paged(MmapMut),
}

impl Numbers {
    pub(crate) fn new(numbers: &[f32]) -> Self {
        let bytes = size_of_val(numbers);
        // Where nothing can be mapped, or there are no large pages, all is slower and the same.
        let mapped = if bytes < FEW { None } else { MmapMut::map_anon(bytes).ok() };
        let Some(mut map) = mapped else { return Self::Few(numbers.to_vec()) };
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        map.copy_from_slice(bytemuck::cast_slice(numbers));
        Self::Paged(map)
    }

    #[inline]
    pub(crate) fn all(&self) -> &[f32] {
        match self {
            Self::Few(numbers) => numbers,
            Self::Paged(map) => bytemuck::cast_slice(map),
        }
    }

    #[inline]
    pub(crate) fn all_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Few(numbers) => numbers,
            Self::Paged(map) => bytemuck::cast_slice_mut(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_numbers_are_the_same_as_few() {
        for count in [0, 1, 1000, FEW / 4 - 1, FEW / 4, FEW / 4 + 1] {
            let all: Vec<f32> = (0..count).map(|number| number as f32).collect();
            let mut numbers = Numbers::new(&all);
            assert_eq!(numbers.all(), all);
            assert_eq!(matches!(numbers, Numbers::Paged(_)), count * 4 >= FEW);
            if let Some(last) = numbers.all_mut().last_mut() {
                *last = -1.0;
                assert_eq!(numbers.all()[count - 1], -1.0);
            }
        }
    }
}

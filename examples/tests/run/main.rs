//! Runs the examples as their readers would, each as a process of its own, and judges what it prints and how it ends.

// The attributes are for clippy, which otherwise takes what is not in a test function for production code.
#[cfg(test)]
mod child;
#[cfg(test)]
mod shop;
#[cfg(test)]
mod small;

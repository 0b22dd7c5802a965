//! Queue records and messages behind one seam.

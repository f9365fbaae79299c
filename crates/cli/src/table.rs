//! Columns of text as Go's tabwriter makes them for Docker: at least ten wide, three spaces between, the last one free.

/// How wide columns are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Widths {
    /// No column is narrower.
    pub(crate) least: usize,
    /// Spaces after the widest cell.
    pub(crate) padding: usize,
}

impl Default for Widths {
    fn default() -> Self {
        Self { least: 10, padding: 3 }
    }
}

/// Lines whose cells are separated by tabs, as aligned text. A cell at the end of a line is in no column, and a
/// column ends at the first line without it.
pub(crate) fn align(text: &str, widths: Widths) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut columns: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
    let deepest = columns.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..deepest {
        let mut start = 0;
        while start < lines.len() {
            let run = columns[start..].iter().take_while(|cells| cells.len() > column).count();
            let block = start..start + run;
            let widest = lines[block.clone()].iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
            // As tabwriter: a column with nothing in it takes no room at all.
            let width = if widest == 0 { 0 } else { (widest + widths.padding).max(widths.least) };
            for line in &mut columns[block] {
                line[column] = width;
            }
            start += run.max(1);
        }
    }
    let mut out = String::new();
    for (cells, widths) in lines.iter().zip(&columns) {
        for (at, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(at) {
                out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        out.push('\n');
    }
    out
}

/// A heading and rows, aligned.
pub(crate) fn render(rows: &[Vec<String>], widths: Widths) -> String {
    let text: String =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect::<Vec<_>>().join("\t") + "\n").collect();
    align(&text, widths)
}

/// A cell without characters that would break the table or the terminal.
pub(crate) fn plain(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_docker_ps() {
        let text = "CONTAINER ID\tIMAGE\tCOMMAND\tNAMES\n4f66ad9a0b2e\tbusybox\t\"sh\"\tkind_fox\n";
        let expected = "CONTAINER ID   IMAGE     COMMAND   NAMES\n4f66ad9a0b2e   busybox   \"sh\"      kind_fox\n";
        assert_eq!(align(text, Widths::default()), expected);
    }

    #[test]
    fn columns_are_blocks_and_characters_count_once() {
        assert_eq!(align("a\tb\nx\nlonger than ten\tc\n", Widths::default()), "a         b\nx\nlonger than ten   c\n");
        assert_eq!(align("äöü\tb\n", Widths { least: 0, padding: 1 }), "äöü b\n");
        assert_eq!(align("a\t\tb\n", Widths::default()), "a         b\n");
    }

    #[test]
    fn cells_cannot_break_lines() {
        let rows = vec![vec!["a\nb".to_owned(), "c\x1b[2J".to_owned()]];
        assert_eq!(render(&rows, Widths::default()), "a b       c [2J\n");
    }
}

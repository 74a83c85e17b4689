package raftstore

import "encoding/binary"

// cells hold records as a snapshot has them, each beginning with the number of its slot,
// in pieces of memory without a pointer: a million of them are nothing for the garbage
// collector to visit. Those that take the same room, in steps of cellUnit, stand side by
// side in a row; when one goes, the last of its row comes in its place, so that rows give
// memory back however records come and go.
//
// Invariant: of each row the first n cells are in use, and at most one piece beyond those
// that they need is kept.
type cells struct {
	rows [maxCellUnits + 1]cellRow // by units that a cell takes
}

// cellRow has cells of one size.
type cellRow struct {
	pieces []*[cellPiece]byte
	n      uint32
}

// A cell is
//
//	spare    1 byte: so many at the end are not used
//	content
const (
	cellUnit     = 8
	maxCellUnits = 31 // what is longer stays open
	cellPiece    = 8 << 10
)

// spot says where a record lies: open, in a cell, or, being 0, nowhere.
//
//	bit 31       it is open, in that place of openRecords
//	bits 26..30  units of its cell
//	bits 0..25   its number in the row
type spot uint32

const (
	spotOpen     spot = 1 << 31
	spotRowBits       = 26
	spotRowCells      = 1 << spotRowBits
)

func (p spot) open() bool     { return p&spotOpen != 0 }
func (p spot) units() uint32  { return uint32(p) >> spotRowBits }
func (p spot) number() uint32 { return uint32(p) & (spotRowCells - 1) }

// perPiece is how many cells of so many units are in a piece.
func perPiece(units uint32) uint32 { return cellPiece / (units * cellUnit) }

func (c *cells) cell(p spot) []byte {
	units, n := p.units(), p.number()
	size, per := units*cellUnit, perPiece(units)
	return c.rows[units].pieces[n/per][n%per*size:][:size]
}

// at is the content at p, borrowed until a cell is put or removed.
func (c *cells) at(p spot) []byte {
	cell := c.cell(p)
	return cell[1 : len(cell)-int(cell[0])]
}

// put keeps a copy of content, unless it is too long, or its row too full.
func (c *cells) put(content []byte) (p spot, ok bool) {
	units := uint32(1+len(content)+cellUnit-1) / cellUnit
	if units > maxCellUnits || c.rows[units].n == spotRowCells {
		return 0, false
	}
	row := &c.rows[units]
	if row.n == uint32(len(row.pieces))*perPiece(units) {
		row.pieces = append(row.pieces, new([cellPiece]byte))
	}
	p = spot(units<<spotRowBits | row.n)
	row.n++
	cell := c.cell(p)
	cell[0] = byte(len(cell) - 1 - copy(cell[1:], content))
	return p, true
}

// remove empties p. If another comes to lie there, moved is its slot.
func (c *cells) remove(p spot) (moved uint32, ok bool) {
	units := p.units()
	row := &c.rows[units]
	row.n--
	if last := spot(units<<spotRowBits | row.n); last != p {
		copy(c.cell(p), c.cell(last))
		moved, ok = cellSlot(c.at(p)), true
	}
	if n := len(row.pieces); row.n+2*perPiece(units) <= uint32(n)*perPiece(units) {
		row.pieces[n-1] = nil
		row.pieces = row.pieces[:n-1]
	}
	return moved, ok
}

// cellSlot is the slot whose record content is.
func cellSlot(content []byte) uint32 {
	slot, _ := binary.Uvarint(content)
	return uint32(slot)
}

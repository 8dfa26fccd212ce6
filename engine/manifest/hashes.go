package manifest

import (
	"context"
	"fmt"

	"shoal/internal/wire"
)

// Hashes returns the piece hashes of one group of a record got from this Title, checked against the record's root. What
// is not in memory is read: a file of one piece needs nothing, a group 32 KiB at most, the first group of a file of
// several also the layer of group hashes (2 KiB for 3 GB).
func (t *Title) Hashes(ctx context.Context, r Record, group uint32) (hashes []Hash, err error) {
	if group >= GroupCount(r.Length) {
		return nil, fmt.Errorf("%s: %s: hash group %d of %d", FileName, r.Path, group, GroupCount(r.Length))
	}
	if wire.PieceCount(r.Length) == 1 {
		return []Hash{Hash(r.Root)}, nil
	}
	err = t.share(ctx, flight{kind: 'G', index: int(group), root: r.Root},
		func() bool {
			g, ok := t.hashes.get(hashKey{r.Root, group})
			if ok {
				hashes = g.pieces
			}
			return ok
		},
		func() error {
			g, err := t.readGroup(ctx, r, group)
			if err != nil {
				return err
			}
			t.keepHashes(r, group, g)
			hashes = g.pieces
			return nil
		})
	return hashes, err
}

func (t *Title) keepHashes(r Record, group uint32, g *hashGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hashes.put(hashKey{r.Root, group}, g, (len(g.pieces)+len(g.proof))*hashBytes)
}

// HashBytes is what VerifyHashes takes, for another peer: a group's hashes and its proof. It does no I/O and is false
// when the group is not in memory.
func (t *Title) HashBytes(r Record, group uint32) ([]byte, bool) {
	if group >= GroupCount(r.Length) {
		return nil, false
	}
	if wire.PieceCount(r.Length) == 1 {
		return r.Root[:], true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	g, ok := t.hashes.get(hashKey{r.Root, group})
	if !ok {
		return nil, false
	}
	b := make([]byte, 0, (len(g.pieces)+len(g.proof))*hashBytes)
	return appendHashes(appendHashes(b, g.pieces), g.proof), true
}

// AddHashes is VerifyHashes for bytes got from a peer, and keeps what was right, so that Hashes need not read it.
func (t *Title) AddHashes(r Record, group uint32, data []byte) ([]Hash, error) {
	pieces, proof, err := verifyHashes(r, group, data)
	if err != nil {
		return nil, err
	}
	t.keepHashes(r, group, &hashGroup{pieces: pieces, proof: proof})
	return pieces, nil
}

func (t *Title) readGroup(ctx context.Context, r Record, group uint32) (*hashGroup, error) {
	where := fmt.Sprintf("hashes of %s: group %d", r.Path, group)
	if r.hashOffset == 0 {
		return nil, fmt.Errorf("%s: %s: the record is not one that a page returned", FileName, where)
	}
	groups := int(GroupCount(r.Length))
	size := groupSize(r.Length, group) * hashBytes
	if groups == 1 {
		data, err := t.readArea(ctx, r.hashOffset, size, r.hashEnd, where)
		if err != nil {
			return nil, err
		}
		pieces := toHashes(data)
		if FileRoot(pieces) != r.Root {
			return nil, &FormatError{Where: where, What: "do not match the root"}
		}
		return &hashGroup{pieces: pieces}, nil
	}
	upper, err := t.upper(ctx, r, groups)
	if err != nil {
		return nil, err
	}
	offset := r.hashOffset + int64(groups)*hashBytes + int64(group)*groupHashesBytes
	data, err := t.read(ctx, offset, size, where)
	if err != nil {
		return nil, err
	}
	pieces := toHashes(data)
	if subtree(pieces, groupHeight, 0) != upper[group] {
		return nil, &FormatError{Where: where, What: "do not match the root"}
	}
	return &hashGroup{pieces: pieces, proof: groupProof(upper, group)}, nil
}

// upper returns the layer of group hashes of a file, checked against its root.
func (t *Title) upper(ctx context.Context, r Record, groups int) (upper []Hash, err error) {
	err = t.share(ctx, flight{kind: 'U', root: r.Root},
		func() (ok bool) { upper, ok = t.uppers.get(r.Root); return ok },
		func() error {
			where := fmt.Sprintf("hashes of %s: groups", r.Path)
			data, err := t.read(ctx, r.hashOffset, groups*hashBytes, where)
			if err != nil {
				return err
			}
			upper = toHashes(data)
			if Root(subtree(upper, treeHeight(groups), groupHeight)) != r.Root {
				return &FormatError{Where: where, What: "do not match the root"}
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.uppers.put(r.Root, upper, len(data))
			return nil
		})
	return upper, err
}

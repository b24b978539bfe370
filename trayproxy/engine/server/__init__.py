"""Accept client connections and run one task per connection."""

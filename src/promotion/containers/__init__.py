"""Container images of exported models: built from an export folder, tried before anybody deploys them."""
